package search

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// kind is the class of a token.
type kind int

const (
	end        kind = iota
	name            // metrics.loss, tags.`a b`, "x y"; also a bare word
	operation       // names glued by operator characters: f1-score
	text            // 'single quoted'
	integer         // -12
	decimal         // -1.5, .5, 1e-3
	comparator      // = != < <= > >= and any other run of those characters, LIKE, ILIKE, RLIKE with or without NOT
	and             // AND
	keyword         // OR, NOT, IN, IS, NULL, BETWEEN, TRUE, FALSE
	open            // (
	closing         // )
	comma           // ,
	semicolon       // ;
	other           // anything else
)

// token is one word of a filter. src is its text as written; pos its byte offset.
type token struct {
	kind kind
	src  string
	pos  int
}

// is tells whether the token is the given keyword, in any case.
func (t token) is(word string) bool {
	return (t.kind == keyword || t.kind == and || t.kind == comparator) && strings.EqualFold(t.src, word)
}

var keywords = map[string]kind{
	"AND": and, "OR": keyword, "NOT": keyword, "IN": keyword, "IS": keyword, "NULL": keyword, "BETWEEN": keyword,
	"TRUE": keyword, "FALSE": keyword,
	"LIKE": comparator, "ILIKE": comparator, "RLIKE": comparator,
}

// scanner cuts a filter into tokens in one pass: each character is looked at a bounded number of times.
type scanner struct {
	src string
	pos int
	// last quote of each sort, which decides whether '' and \' end a string
	lastSingle, lastDouble, lastBacktick int
}

// scan returns the tokens of src, the last being end. It accepts any text: what makes no sense comes back as other.
func scan(src string) []token {
	s := &scanner{
		src:          src,
		lastSingle:   strings.LastIndexByte(src, '\''),
		lastDouble:   strings.LastIndexByte(src, '"'),
		lastBacktick: strings.LastIndexByte(src, '`'),
	}
	var tokens []token
	for {
		t := s.next()
		tokens = append(tokens, t)
		if t.kind == end {
			return tokens
		}
	}
}

func (s *scanner) next() token {
	for s.pos < len(s.src) {
		r, n := utf8.DecodeRuneInString(s.src[s.pos:])
		if !unicode.IsSpace(r) {
			break
		}
		s.pos += n
	}
	start := s.pos
	k := s.advance()
	return token{kind: k, src: s.src[start:s.pos], pos: start}
}

// advance moves over one token and returns its kind.
func (s *scanner) advance() kind {
	if s.pos == len(s.src) {
		return end
	}
	switch c := s.src[s.pos]; c {
	case '(':
		s.pos++
		return open
	case ')':
		s.pos++
		return closing
	case ',':
		s.pos++
		return comma
	case ';':
		s.pos++
		return semicolon
	case '\'':
		if s.quoted('\'', s.lastSingle) {
			return text
		}
		return other
	case '"', '`':
		return s.name()
	case '<', '>', '=', '~', '!':
		s.pos += span(s.src[s.pos:], "<>=~!")
		return comparator
	case '-':
		if strings.HasPrefix(s.src[s.pos:], "--") {
			return s.comment()
		}
		if k, ok := s.number(); ok {
			return k
		}
	default:
		if c == '.' || c >= '0' && c <= '9' {
			if k, ok := s.number(); ok {
				return k
			}
		}
		if s.wordLen(s.pos) > 0 {
			return s.name()
		}
	}
	_, n := utf8.DecodeRuneInString(s.src[s.pos:])
	s.pos += n
	return other
}

// comment moves to the end of the line.
func (s *scanner) comment() kind {
	if i := strings.IndexAny(s.src[s.pos:], "\r\n"); i >= 0 {
		s.pos += i
	} else {
		s.pos = len(s.src)
	}
	return other
}

// quoted moves over a quoted text and tells whether it is closed; if not, it moves over the quote alone.
// A doubled quote and a quote after a backslash are inside the text as long as another quote follows; they are kept as written.
func (s *scanner) quoted(quote byte, last int) bool {
	for i := s.pos + 1; i <= last; i++ {
		c := s.src[i]
		switch {
		case c == '\\' && quote != '`' && i+1 < last && s.src[i+1] == quote:
			i++
		case c == quote && i+1 < last && s.src[i+1] == quote:
			i++
		case c == quote:
			s.pos = i + 1
			return true
		}
	}
	s.pos++
	return false
}

// number moves over a number that no word character follows.
func (s *scanner) number() (kind, bool) {
	i := s.pos
	if s.src[i] == '-' {
		i++
	}
	whole := span(s.src[i:], digits)
	i += whole
	k := integer
	if i < len(s.src) && s.src[i] == '.' {
		fraction := span(s.src[i+1:], digits)
		if whole+fraction == 0 {
			return 0, false
		}
		i += 1 + fraction
		k = decimal
	} else if whole == 0 {
		return 0, false
	}
	if i < len(s.src) && (s.src[i] == 'e' || s.src[i] == 'E') {
		j := i + 1
		if j < len(s.src) && s.src[j] == '-' {
			j++
		}
		if n := span(s.src[j:], digits); n > 0 {
			i, k = j+n, decimal
		}
	}
	if s.wordLen(i) > 0 {
		return 0, false
	}
	s.pos = i
	return k, true
}

// name moves over a keyword or over parts joined by dots, each a word or a quoted text; and over names glued
// to it by operator characters, which no vocabulary knows but an error message should show whole.
func (s *scanner) name() kind {
	start := s.pos
	if !s.part() {
		return other
	}
	if k, ok := keywords[strings.ToUpper(s.src[start:s.pos])]; ok && !s.at('.') {
		if k == keyword && strings.EqualFold(s.src[start:s.pos], "NOT") {
			return s.not()
		}
		return k
	}
	if isHex(s.src[start:s.pos]) {
		return other
	}
	for s.at('.') {
		s.pos++
		if !s.part() {
			break
		}
	}
	k := name
	for {
		i := s.pos + span(s.src[s.pos:], "-/@%+^&|#")
		if i == s.pos || s.wordLen(i) == 0 {
			return k
		}
		k = operation
		s.pos = i
		for s.part() && s.at('.') {
			s.pos++
		}
	}
}

// not joins NOT with a LIKE that follows it, as one comparator.
func (s *scanner) not() kind {
	i := s.pos
	for i < len(s.src) && (s.src[i] == ' ' || s.src[i] == '\t' || s.src[i] == '\n' || s.src[i] == '\r') {
		i++
	}
	n := s.wordLen(i)
	if keywords[strings.ToUpper(s.src[i:i+n])] == comparator {
		s.pos = i + n
		return comparator
	}
	return keyword
}

// part moves over a word or a quoted text, if there is one.
func (s *scanner) part() bool {
	switch {
	case s.at('"'):
		return s.quoted('"', s.lastDouble)
	case s.at('`'):
		return s.quoted('`', s.lastBacktick)
	}
	n := s.wordLen(s.pos)
	s.pos += n
	return n > 0
}

func (s *scanner) at(c byte) bool { return s.pos < len(s.src) && s.src[s.pos] == c }

// wordLen is the length in bytes of the word at offset i: letters, digits, _ and, after the first character, $ and #.
func (s *scanner) wordLen(i int) int {
	start := i
	for i < len(s.src) {
		r, n := utf8.DecodeRuneInString(s.src[i:])
		if r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) && (i == start || r != '$' && r != '#') {
			break
		}
		i += n
	}
	return i - start
}

// isHex tells whether the word is a hexadecimal number, which no comparison takes.
func isHex(word string) bool {
	return len(word) > 2 && strings.EqualFold(word[:2], "0x") && span(word[2:], digits+"abcdefABCDEF") == len(word)-2
}

const digits = "0123456789"

// span is the number of leading bytes of s that are in set.
func span(s, set string) int {
	i := 0
	for i < len(s) && strings.IndexByte(set, s[i]) >= 0 {
		i++
	}
	return i
}
