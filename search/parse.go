package search

import "strings"

// expr is a node of a parsed filter. OR, NOT and brackets would be further nodes.
type expr interface{ isExpr() }

// conjunction holds when each of its terms holds; without terms it always does.
type conjunction struct{ terms []expr }

// comparison is `left op values`.
type comparison struct {
	left   token
	op     string // as written ("=", "like", "in"); joined and in capitals if of several words: "NOT IN", "IS NULL", "IS NOT NULL"
	opPos  int
	right  token   // the value; for a list its opening bracket
	list   []token // values of a list
	isList bool
	src    string // text of the right side as written
}

func (*conjunction) isExpr() {}
func (*comparison) isExpr()  {}

// nullTest tells whether the comparison is IS NULL or IS NOT NULL, which have no right side.
func (c *comparison) nullTest() bool { return c.op == "IS NULL" || c.op == "IS NOT NULL" }

// parser reads clauses one after the other. What is no clause is collected in strays, to be named all together.
type parser struct {
	src    string
	tokens []token
	i      int
	strays []token
}

// parse reads a filter. strays are the parts that belong to no clause, statements counts the texts cut by semicolons.
func parse(src string) (e expr, strays []token, statements int, err error) {
	p := &parser{src: src, tokens: scan(src)}
	c := &conjunction{}
	statements = 1
	for p.peek(0).kind != end {
		if p.peek(0).kind == and {
			p.i++
			continue
		}
		if p.peek(0).kind == semicolon {
			p.strays = append(p.strays, p.peek(0))
			p.i++
			if p.peek(0).kind != end {
				statements++
			}
			continue
		}
		cmp, err := p.clause()
		if err != nil {
			return nil, nil, 0, err
		}
		if cmp == nil {
			p.stray()
			continue
		}
		c.terms = append(c.terms, cmp)
	}
	return c, p.strays, statements, nil
}

func (p *parser) peek(n int) token { return p.tokens[min(p.i+n, len(p.tokens)-1)] }

// clause reads one comparison; it returns nil and stays where it is if there is none here.
func (p *parser) clause() (*comparison, error) {
	left, op := p.peek(0), p.peek(1)
	if !isOperand(left) {
		return nil, nil
	}
	c := &comparison{left: left, op: op.src, opPos: op.pos}
	switch {
	case op.kind == comparator:
		c.right = p.peek(2)
		if c.right.kind == open {
			return c, p.list(c, 2)
		}
		if !isOperand(c.right) {
			return nil, nil
		}
		c.src = c.right.src
		p.i += 3
		return c, nil
	case left.kind != name:
		return nil, nil
	case op.is("IN") && p.peek(2).kind == open:
		return c, p.list(c, 2)
	case op.is("NOT") && p.peek(2).is("IN") && p.peek(3).kind == open:
		c.op = "NOT IN"
		return c, p.list(c, 3)
	case op.is("IS") && p.peek(2).is("NULL"):
		c.op = "IS NULL"
		p.i += 3
		return c, nil
	case op.is("IS") && p.peek(2).is("NOT") && p.peek(3).is("NULL"):
		c.op = "IS NOT NULL"
		p.i += 4
		return c, nil
	}
	return nil, nil
}

// list reads the bracket n tokens ahead and what it holds. Brackets inside are not understood, only skipped.
func (p *parser) list(c *comparison, n int) error {
	c.right, c.isList = p.peek(n), true
	p.i += n
	group := p.group()
	c.src = p.src[group[0].pos : p.tokens[p.i-1].pos+len(p.tokens[p.i-1].src)]
	if group[len(group)-1].kind != closing {
		return errorAt(p.src, c.right.pos, "Invalid clause(s) in filter string: '"+c.src+"' is not closed")
	}
	c.list = group[1 : len(group)-1]
	return nil
}

// group moves over a bracket and its content, and returns their tokens.
func (p *parser) group() []token {
	start, depth := p.i, 0
	for p.peek(0).kind != end {
		switch p.peek(0).kind {
		case open:
			depth++
		case closing:
			depth--
		}
		p.i++
		if depth == 0 {
			break
		}
	}
	return p.tokens[start:p.i]
}

// stray puts what is here aside: a bracket with its content, a name with the word after it, or one token.
func (p *parser) stray() {
	t := p.peek(0)
	if t.kind == open {
		group := p.group()
		last := group[len(group)-1]
		t.src = p.src[t.pos : last.pos+len(last.src)]
	} else {
		p.i++
		if next := p.peek(0); t.kind == name && next.kind == name && p.peek(1).kind != comparator {
			t.src = p.src[t.pos : next.pos+len(next.src)]
			p.i++
		}
	}
	p.strays = append(p.strays, t)
}

func isOperand(t token) bool {
	switch t.kind {
	case name, operation, text, integer, decimal:
		return true
	}
	return false
}

// unquote strips a pair of single or double quotes.
func unquote(s string) (string, bool) {
	if isQuoted(s, '\'') || isQuoted(s, '"') {
		return s[1 : len(s)-1], true
	}
	return s, false
}

// key strips what may surround a key: quotes, then backticks.
func key(s string) string {
	s, _ = unquote(s)
	if isQuoted(s, '`') {
		return s[1 : len(s)-1]
	}
	return s
}

func isQuoted(s string, quote byte) bool {
	return len(s) >= 2 && s[0] == quote && s[len(s)-1] == quote
}

// cutKey splits an identifier at its first dot.
func cutKey(ident string) (group, key string, dotted bool) {
	if before, after, ok := strings.Cut(ident, "."); ok {
		return before, after, true
	}
	return "", ident, false
}
