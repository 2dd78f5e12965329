package models

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"greenroom/auth"
	"greenroom/search"
)

// visible is the condition for the rows that the caller may read, so that a search neither shows nor counts others: kind is
// what the rows are, id and name are the columns that permissions go by. It is empty where the caller may read everything.
func (t *tx) visible(kind auth.Kind, id, name string) search.Clause {
	c := coverage{t.s.dialect, kind, id, name}
	clause := search.Clause{SQL: always}
	if !t.by.Admin {
		clause = c.readable(t.by.Grants, t.by.Default)
	}
	if t.by.Scope != nil {
		clause = both(clause, c.readable(t.by.Scope, auth.NoPermissions))
	}
	if clause.SQL == always {
		return search.Clause{}
	}
	return clause
}

func (t *tx) visibleExperiments() search.Clause {
	return t.visible(auth.Experiment, "experiments.experiment_id", "experiments.name")
}

func (t *tx) visibleModels(name string) search.Clause {
	return t.visible(auth.RegisteredModel, "", name)
}

// readableExperiments leaves out the experiments that the caller may not read: what they contain is not searched.
func (t *tx) readableExperiments(ids []int64) (readable []int64, err error) {
	visible := t.visibleExperiments()
	if visible.SQL == "" {
		return ids, nil
	}
	err = eachChunk(ids, func(ids []int64) error {
		q := newQuery("SELECT experiments.experiment_id FROM experiments WHERE experiments.experiment_id IN ?", ids).and(visible)
		found, err := pick[int64](t, q.text.String(), q.args...)
		readable = append(readable, found...)
		return err
	})
	return readable, err
}

// coverage writes, for rows of one kind, what Grant.Covers decides for one object. Any number of grants is one argument.
type coverage struct {
	dialect  search.Dialect
	kind     auth.Kind
	id, name string
}

// readable is Principal.Level(row) >= Read for one list of grants; unset is the level where none covers the row.
func (c coverage) readable(grants auth.Grants, unset auth.Level) search.Clause {
	var denied, nothing, readable auth.Grants
	for _, g := range grants {
		switch {
		case g.Kind != c.kind:
		case g.Level == auth.Deny:
			denied = append(denied, g)
		case g.Level == auth.NoPermissions:
			nothing = append(nothing, g)
		default:
			readable = append(readable, g)
		}
	}
	clause := c.covered(readable)
	if unset >= auth.Read {
		clause = either(clause, not(c.covered(nothing)))
	}
	return both(clause, not(c.covered(denied)))
}

// covered is the condition that any of the grants covers the row.
func (c coverage) covered(grants auth.Grants) search.Clause {
	ids, names, patterns := []int64{}, []string{}, []string{}
	for _, g := range grants {
		switch {
		case strings.ContainsRune(g.Pattern, 0): // which no name has, and PostgreSQL's JSON neither
		case g.ByID():
			if id, err := strconv.ParseInt(g.Pattern, 10, 32); err == nil && strconv.FormatInt(id, 10) == g.Pattern { // 007 is no id
				ids = append(ids, id)
			}
		case g.Exact || !strings.Contains(g.Pattern, "*"):
			names = append(names, g.Pattern)
		case strings.Trim(g.Pattern, "*") == "":
			return search.Clause{SQL: always}
		default:
			patterns = append(patterns, c.pattern(g.Pattern))
		}
	}
	clause := search.Clause{SQL: never}
	if c.dialect == search.PostgreSQL {
		clause = either(clause, anyOf(c.id+" = ANY (ARRAY (SELECT CAST(jsonb_array_elements_text(CAST(? AS jsonb)) AS integer)))", ids))
		clause = either(clause, anyOf(c.name+" = ANY (ARRAY (SELECT jsonb_array_elements_text(CAST(? AS jsonb))))", names))
		return either(clause, anyOf(c.name+" LIKE ANY (ARRAY (SELECT jsonb_array_elements_text(CAST(? AS jsonb))))", patterns))
	}
	clause = either(clause, anyOf(c.id+" IN (SELECT value FROM json_each(?))", ids))
	clause = either(clause, anyOf(c.name+" IN (SELECT value FROM json_each(?))", names))
	return either(clause, anyOf("EXISTS (SELECT 1 FROM json_each(?) AS pattern WHERE "+c.name+" GLOB pattern.value)", patterns))
}

// pattern writes a pattern, in which * stands for any text and nothing else has a meaning, as the database's own.
func (c coverage) pattern(p string) string {
	if c.dialect == search.PostgreSQL {
		return strings.NewReplacer(`\`, `\\`, "%", `\%`, "_", `\_`, "*", "%").Replace(p)
	}
	return strings.NewReplacer("?", "[?]", "[", "[[]").Replace(p)
}

// anyOf is a condition with one argument, the list of values as JSON; without values nothing fulfils it.
func anyOf[T any](condition string, values []T) search.Clause {
	if len(values) == 0 {
		return search.Clause{SQL: never}
	}
	list, err := json.Marshal(values)
	if err != nil {
		panic(err) // texts and numbers always marshal
	}
	return search.Clause{SQL: condition, Args: []any{string(list)}}
}

// What always and never holds, in a form that both databases drop while planning.
const (
	always = "1 = 1"
	never  = "1 = 0"
)

func not(c search.Clause) search.Clause {
	switch c.SQL {
	case always:
		return search.Clause{SQL: never}
	case never:
		return search.Clause{SQL: always}
	}
	return search.Clause{SQL: "NOT (" + c.SQL + ")", Args: c.Args}
}

func both(a, b search.Clause) search.Clause { return combine(a, b, always, never, " AND ") }

func either(a, b search.Clause) search.Clause { return combine(a, b, never, always, " OR ") }

// combine joins two conditions; neutral is the one that changes nothing, strong the one that decides alone.
func combine(a, b search.Clause, neutral, strong, operator string) search.Clause {
	switch {
	case a.SQL == neutral || b.SQL == strong:
		return b
	case b.SQL == neutral || a.SQL == strong:
		return a
	}
	return search.Clause{SQL: "(" + a.SQL + operator + b.SQL + ")", Args: slices.Concat(a.Args, b.Args)}
}
