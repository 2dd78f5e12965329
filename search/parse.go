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
	closed map[int]int // index of an opening bracket → index of the one that closes it
	i      int
	strays []token
}

// parse reads a filter. strays are the parts that belong to no clause, statements counts the texts cut by semicolons.
func parse(src string) (e expr, strays []token, statements int) {
	p := &parser{src: src, tokens: scan(src), closed: map[int]int{}}
	var opened []int
	for i, t := range p.tokens {
		switch {
		case t.kind == open:
			opened = append(opened, i)
		case t.kind == closing && len(opened) > 0:
			p.closed[opened[len(opened)-1]] = i
			opened = opened[:len(opened)-1]
		}
	}
	c := &conjunction{}
	statements = 1
	for p.peek(0).kind != end {
		switch p.peek(0).kind {
		case and:
			p.i++
			continue
		case semicolon:
			p.stray()
			if p.peek(0).kind != end {
				statements++
			}
			continue
		}
		if cmp := p.clause(); cmp != nil {
			c.terms = append(c.terms, cmp)
		} else {
			p.stray()
		}
	}
	return c, p.strays, statements
}

func (p *parser) peek(n int) token { return p.tokens[min(p.i+n, len(p.tokens)-1)] }

// clause reads one comparison; it returns nil and stays where it is if there is none here.
func (p *parser) clause() *comparison {
	left, op := p.peek(0), p.peek(1)
	if !left.isOperand() {
		return nil
	}
	c := &comparison{left: left, op: op.src, opPos: op.pos}
	switch {
	case op.kind == comparator && p.peek(2).kind == open:
		return p.list(c, 2)
	case op.kind == comparator && (p.peek(2).isOperand() || p.peek(2).is("NULL")):
		c.right = p.peek(2)
		c.src = c.right.src
		p.i += 3
		return c
	case left.kind != name:
		return nil
	case op.is("IN") && p.peek(2).kind == open:
		return p.list(c, 2)
	case op.is("NOT") && p.peek(2).is("IN") && p.peek(3).kind == open:
		c.op = "NOT IN"
		return p.list(c, 3)
	case op.is("IS") && p.peek(2).is("NULL"):
		c.op = "IS NULL"
		p.i += 3
		return c
	case op.is("IS") && p.peek(2).is("NOT") && p.peek(3).is("NULL"):
		c.op = "IS NOT NULL"
		p.i += 4
		return c
	}
	return nil
}

// list reads the bracket n tokens ahead and what it holds. Brackets inside are not understood, only skipped.
func (p *parser) list(c *comparison, n int) *comparison {
	first := p.i + n
	last, ok := p.closed[first]
	if !ok {
		return nil
	}
	c.right, c.isList, c.list = p.tokens[first], true, p.tokens[first+1:last]
	c.src = p.text(first, last)
	p.i = last + 1
	return c
}

// text is what the tokens from first to last were written as.
func (p *parser) text(first, last int) string {
	return p.src[p.tokens[first].pos : p.tokens[last].pos+len(p.tokens[last].src)]
}

// stray puts what is here aside: a bracket with its content, a name with the word after it, or one token.
func (p *parser) stray() {
	t, last := p.peek(0), p.i
	if i, ok := p.closed[p.i]; ok {
		last = i
	} else if t.kind == name && p.peek(1).kind == name && p.peek(2).kind != comparator {
		last++
	}
	t.src = p.text(p.i, last)
	p.strays = append(p.strays, t)
	p.i = last + 1
}

// isOperand tells whether the token can stand beside a comparator.
func (t token) isOperand() bool {
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
