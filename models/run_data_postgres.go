package models

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"gorm.io/gorm"

	"greenroom/panics"
	"greenroom/search"
)

const (
	// logStatements is how many statements log at a time; who comes meanwhile shares the next. PostgreSQL itself lets commits share a wait for the disk.
	logStatements = 2
	// logGroup is how many requests share a statement.
	logGroup = 64
	// logAlone is from how many rows on a request has a statement of its own, at once: it has little to gain from company.
	logAlone = 200
	// lockWait is how long a statement that is shared waits for what somebody else has locked, such as a run's latest metric.
	lockWait = 250 * time.Millisecond
)

// logging is what one request logs.
type logging struct {
	ctx   context.Context
	runID string
	Batch
	done chan struct{}
	err  error // once done
	late bool  // lockedRuns': it waits no longer
}

func (l *logging) rows() int { return len(l.Metrics) + len(l.Params) + len(l.Tags) }

// end answers the request.
func (l *logging) end(err error) {
	l.err = err
	close(l.done)
}

// errParamsDiffer is how logAtOnce ends when a param has another value already: it has written nothing.
var errParamsDiffer = errors.New("a param has another value already")

// fitsStatement tells whether logAtOnce does all that a batch asks for: new names and logged models need a look at what is stored.
func (s *Store) fitsStatement(b Batch) bool {
	return s.dialect == search.PostgreSQL &&
		!slices.ContainsFunc(b.Metrics, func(m Metric) bool { return m.ModelID != "" }) &&
		!slices.ContainsFunc(b.Tags, func(t Tag) bool { return t.Key == tagRunName })
}

// logAtOnce is LogBatch for what fitsStatement: in one round trip and one transaction, PostgreSQL's own around a statement,
// which it may share with other requests. If ctx ends before that, or its turn does not come in logWait, nothing is written.
func (s *Store) logAtOnce(ctx context.Context, runID string, b Batch) error {
	l := &logging{ctx: ctx, runID: runID, Batch: b, done: make(chan struct{})}
	switch {
	case s.lockedRuns.join(l):
	case l.rows() >= logAlone:
		s.log(ctx, logTurn{skipLocked: true}, l)
	default:
		s.loggings.enter(l, logStatements, s.logWaiting)
	}
	wait, cancel := context.WithTimeout(ctx, s.logWait)
	defer cancel()
	select {
	case <-l.done:
	case <-wait.Done():
		if s.loggings.leave(l) {
			return cmp.Or[error](ctx.Err(), noConnection())
		}
		s.lockedRuns.leave(l)
		<-l.done
	}
	return l.err
}

// logWaiting runs statements until nobody waits.
func (s *Store) logWaiting() {
	for !s.loggings.idle() {
		var group []*logging
		for len(group) < logGroup {
			if l := s.loggings.next(); l != nil {
				group = append(group, l)
			} else if len(group) == 0 || !s.loggings.awaitsMore(len(group)) {
				break
			}
		}
		if len(group) > 0 {
			s.log(context.Background(), logTurn{skipLocked: true, lockWait: lockWait}, group...)
		}
	}
}

// logLocked runs statements that wait for a run that others have locked, until nobody wants to log to it.
func (s *Store) logLocked(runID string) {
	s.lockedRuns.slots <- struct{}{}
	defer func() { <-s.lockedRuns.slots }()
	for group := s.lockedRuns.next(runID); len(group) > 0; group = s.lockedRuns.next(runID) {
		s.log(context.Background(), logTurn{lockWait: s.logWait}, group...)
	}
}

// logTurn is how a statement goes about what others have locked.
type logTurn struct {
	skipLocked bool          // runs that are locked are left out
	lockWait   time.Duration // how long it waits for each lock; 0 for ever
}

// shared tells whether it is a turn of logWaiting's.
func (t logTurn) shared() bool { return t.skipLocked && t.lockWait > 0 }

// log runs one statement for some requests and answers them; those whose runs are locked by others it hands over to lockedRuns.
// If PostgreSQL refuses the statement, so that nothing is written, perhaps for what one of them asks, each has its own.
func (s *Store) log(ctx context.Context, turn logTurn, group ...*logging) {
	var stages map[string]LifecycleStage
	began := time.Now()
	err := panics.Caught(func() (err error) {
		if len(group) == 1 {
			ctx = group[0].ctx
		}
		stages, err = s.runLogStatement(ctx, turn, group)
		return err
	})
	if turn.shared() {
		s.loggings.groupEnded(len(group), time.Since(began))
	}
	locked := sqlState(err) == lockNotAvailable
	if len(group) > 1 && sqlState(err) != "" && (turn.skipLocked || !locked) {
		for _, l := range group {
			if !turn.skipLocked || !s.lockedRuns.join(l) {
				s.log(ctx, turn, l)
			}
		}
		return
	}
	for _, l := range group {
		stage, found := stages[l.runID]
		switch {
		case turn.skipLocked && (locked || err == nil && !found):
			s.lockedRuns.enter(l, s.logLocked) // which tells whether there is such a run
		case sqlState(err) == divisionByZero:
			l.end(errParamsDiffer)
		case err != nil:
			l.end(err)
		case !found:
			l.end(runNotFound(l.runID))
		default:
			l.end((&Run{ID: l.runID, LifecycleStage: stage}).requireActive())
		}
	}
}

// runLogStatement gives the stages of the runs that there are, and were not left out.
func (s *Store) runLogStatement(ctx context.Context, turn logTurn, group []*logging) (stages map[string]LifecycleStage, err error) {
	var all logRows
	for _, l := range group {
		all.add(l)
	}
	shape, args := all.arguments(turn.lockWait)
	if turn.skipLocked {
		shape |= skipsLocked
	}
	statement := func() error {
		return s.connected(ctx, s.write, func(db *gorm.DB) error {
			stages = make(map[string]LifecycleStage, len(group))
			// To the end: PostgreSQL sends the rows before it commits.
			rows, err := db.Statement.ConnPool.QueryContext(ctx, s.logStatements[shape], args...)
			if err != nil {
				return err
			}
			defer rows.Close()
			for rows.Next() {
				var id string
				var stage LifecycleStage
				if err := rows.Scan(&id, &stage); err != nil {
					return err
				}
				stages[id] = stage
			}
			return errors.Join(rows.Err(), rows.Close())
		})
	}
	if err = retried(ctx, statement); isUniqueViolation(err) {
		shape |= skipsStored
		err = retried(ctx, statement)
	}
	return stages, err
}

const (
	divisionByZero   = "22012" // how logStatement undoes itself
	lockNotAvailable = "55P03" // after lock_timeout
)

// logShape says what a statement that logs has to write.
type logShape int

const (
	logsParams logShape = 1 << iota
	logsMetrics
	logsTags
	skipsLocked // runs that others have locked
	skipsStored // metrics that are there already: PostgreSQL takes a quarter longer for all others, so that is for when it has refused some
	logShapes   // how many there are
)

// logStatement is the statement that writes what requests log to active runs, as logRows.arguments gives it. Each part waits for the one
// before, and takes its rows sorted, so that all writers lock rows in one order. It gives the stage of all runs that there are. The lock
// on these is what each row's foreign key takes anyway, and the time for which it waits for one ends with the transaction.
func logStatement(shape logShape) string {
	const active = "run_uuid = ANY (ARRAY(SELECT run_uuid FROM run WHERE lifecycle_stage = 'active'))"
	lock := "FOR KEY SHARE"
	if shape&skipsLocked != 0 {
		lock += " SKIP LOCKED"
	}
	statement := "WITH run AS (SELECT run_uuid, lifecycle_stage FROM runs WHERE run_uuid = ANY ($1::text[]) AND (SELECT set_config('lock_timeout', $2::text, true)) IS NOT NULL " + lock + ")"
	n, before, check := 2, "", ""
	insert := func(name, table, columns, conflict string, types ...string) {
		for i, kind := range types {
			n++
			types[i] = fmt.Sprintf("$%d::%s[]", n, kind)
		}
		if table == "params" {
			check = " WHERE 1 / ((SELECT count(*) FROM " + name + ") = (SELECT count(*) FROM unnest(" + types[0] + ") AS run_uuid WHERE " + active + "))::int = 1"
		}
		statement += ",\n\t" + name + " AS (INSERT INTO " + table + " (" + columns + ") SELECT " + columns +
			" FROM unnest(" + strings.Join(types, ", ") + ") AS new (" + columns + ") WHERE " + active + before + " " + conflict + " RETURNING 1)"
		before = " AND (SELECT count(*) FROM " + name + ") >= 0"
	}
	const texts, metrics = "run_uuid, key, value", "run_uuid, key, value, timestamp, step, is_nan"
	if shape&logsParams != 0 {
		insert("logged", "params", texts, "ON CONFLICT (key, run_uuid) DO UPDATE SET value = excluded.value WHERE params.value = excluded.value", "text", "text", "text")
	}
	if shape&logsMetrics != 0 {
		stored := ""
		if shape&skipsStored != 0 {
			stored = "ON CONFLICT DO NOTHING"
		}
		insert("history", "metrics", metrics, stored, "text", "text", "double precision", "bigint", "bigint", "boolean")
		insert("latest", "latest_metrics", metrics, laterWins, "text", "text", "double precision", "bigint", "bigint", "boolean")
	}
	if shape&logsTags != 0 {
		insert("tagged", "tags", texts, lastTagWins, "text", "text", "text")
	}
	return statement + "\n\tSELECT run_uuid, lifecycle_stage FROM run" + check
}

// logRows are the rows that requests log.
type logRows struct {
	runs         []string
	params, tags []runText
	metrics      []runMetric
}

// runText is a param or a tag.
type runText struct{ run, key, value string }

type runMetric struct {
	run string
	Metric
}

func (r *logRows) add(l *logging) {
	r.runs = append(r.runs, l.runID)
	for _, p := range l.Params {
		r.params = append(r.params, runText{l.runID, p.Key, p.Value})
	}
	for _, t := range l.Tags {
		r.tags = append(r.tags, runText{l.runID, t.Key, t.Value})
	}
	for _, m := range l.Metrics {
		r.metrics = append(r.metrics, runMetric{l.runID, m})
	}
}

// arguments are those of logStatement.
func (r *logRows) arguments(lockWait time.Duration) (shape logShape, args []any) {
	slices.Sort(r.runs)
	args = append(args, slices.Compact(r.runs), strconv.FormatInt(lockWait.Milliseconds(), 10))
	if len(r.params) > 0 {
		shape |= logsParams
		slices.SortStableFunc(r.params, compareTexts)
		args = append(args, textArrays(r.params)...) // two values of one param are PostgreSQL's to refuse
	}
	if len(r.metrics) > 0 {
		shape |= logsMetrics
		slices.SortStableFunc(r.metrics, func(a, b runMetric) int {
			return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.run, b.run), cmp.Compare(a.Timestamp, b.Timestamp), cmp.Compare(a.Step, b.Step), cmp.Compare(a.Value, b.Value))
		})
		r.metrics = slices.Compact(r.metrics)
		args = append(append(args, metricArrays(r.metrics)...), metricArrays(r.latest())...)
	}
	if len(r.tags) > 0 {
		shape |= logsTags
		slices.SortStableFunc(r.tags, compareTexts)
		last := r.tags[:0]
		for i, t := range r.tags {
			if i+1 == len(r.tags) || compareTexts(t, r.tags[i+1]) != 0 {
				last = append(last, t)
			}
		}
		args = append(args, textArrays(last)...)
	}
	return shape, args
}

// latest are the latest values of each run's metrics, which are sorted.
func (r *logRows) latest() []runMetric {
	var latest []runMetric
	for _, m := range r.metrics {
		n := len(latest) - 1
		switch {
		case n < 0 || latest[n].Key != m.Key || latest[n].run != m.run:
			latest = append(latest, m)
		case m.laterThan(latest[n].Metric):
			latest[n] = m
		}
	}
	return latest
}

func compareTexts(a, b runText) int {
	return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.run, b.run))
}

func textArrays(rows []runText) []any {
	runs, keys, values := make([]string, len(rows)), make([]string, len(rows)), make([]string, len(rows))
	for i, r := range rows {
		runs[i], keys[i], values[i] = r.run, r.key, r.value
	}
	return []any{runs, keys, values}
}

func metricArrays(metrics []runMetric) []any {
	n := len(metrics)
	runs, keys, values, timestamps, steps, nans := make([]string, n), make([]string, n), make([]float64, n), make([]int64, n), make([]int64, n), make([]bool, n)
	for i, m := range metrics {
		runs[i], keys[i], values[i], timestamps[i], steps[i], nans[i] = m.run, m.Key, m.Value, m.Timestamp, m.Step, m.IsNaN
	}
	return []any{runs, keys, values, timestamps, steps, nans}
}
