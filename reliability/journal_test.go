package reliability_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A journal is the oracle: a folder of files that say what was attempted and what was acknowledged, one file per round and
// writer. Each line is on disk before the next request leaves.
type journal struct {
	t   testing.TB
	dir string
}

// write is one attempt: facts that hold together, all or none, once it is done, and the slot that it sets to a value. Only one
// writer sets a slot.
type write struct {
	ID    string   `json:"id"`
	Facts []string `json:"facts,omitempty"`
	Slot  string   `json:"slot,omitempty"`
	Value string   `json:"value,omitempty"`
}

// line is one of a journal: an attempt, or how the attempt of that ID went.
type line struct {
	Attempt      *write `json:"attempt,omitempty"`
	Acknowledged string `json:"acknowledged,omitempty"`
	Number       string `json:"number,omitempty"` // "model/1 source", of a version that was acknowledged
	Refused      string `json:"refused,omitempty"`
	Why          string `json:"why,omitempty"`
}

// newJournal makes an empty one. It is kept when the test fails.
func newJournal(t testing.TB) *journal {
	t.Helper()
	dir, err := os.MkdirTemp("", "greenroom-journal-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the journal is in %s", dir)
			return
		}
		os.RemoveAll(dir)
	})
	return &journal{t, dir}
}

// page is the file of one writer in one round.
type page struct {
	file    *os.File
	pending []line
}

// open starts a page; scope is the round's name, which everything written in it carries.
func (j *journal) open(scope, writer string) (*page, error) {
	file, err := os.OpenFile(filepath.Join(j.dir, scope+"-"+writer+".jsonl"), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	return &page{file: file}, err
}

// attempt puts the outcome of the last write and the attempt of this one on disk.
func (p *page) attempt(w write) error { return p.sync(line{Attempt: &w}) }

// acknowledge notes that the write was answered with success. It is on disk before the next attempt.
func (p *page) acknowledge(id, number string) {
	p.pending = append(p.pending, line{Acknowledged: id, Number: number})
}

// refuse notes that the write was answered with an error, which says no more than no answer.
func (p *page) refuse(id, why string) { p.pending = append(p.pending, line{Refused: id, Why: why}) }

func (p *page) close() error { return errors.Join(p.sync(), p.file.Close()) }

func (p *page) sync(more ...line) error {
	var text []byte
	for _, l := range append(p.pending, more...) {
		encoded, err := json.Marshal(l)
		if err != nil {
			return err
		}
		text = append(append(text, encoded...), '\n')
	}
	p.pending = nil
	if _, err := p.file.Write(text); err != nil {
		return err
	}
	return p.file.Sync()
}

// must makes a write that has to succeed, before the writers start; each has a page of its own.
func (j *journal) must(t testing.TB, scope string, w write, do func()) {
	t.Helper()
	p, err := j.open(scope, strings.ReplaceAll(w.ID, "/", "_"))
	if err == nil {
		err = p.attempt(w)
	}
	if err != nil {
		t.Fatal(err)
	}
	do()
	p.acknowledge(w.ID, "")
	if err := p.close(); err != nil {
		t.Fatal(err)
	}
}

// entry is a write as the journal tells it.
type entry struct {
	write
	acknowledged bool
	number       string
}

// read gives the writes of a scope, or of all if it is empty; those of one writer are in order.
func (j *journal) read(scope string) []entry {
	j.t.Helper()
	pattern := "*.jsonl"
	if scope != "" {
		pattern = scope + "-" + pattern
	}
	files, err := filepath.Glob(filepath.Join(j.dir, pattern))
	if err != nil {
		j.t.Fatal(err)
	}
	slices.Sort(files)
	var all []entry
	for _, file := range files {
		entries, err := readPage(file)
		if err != nil {
			j.t.Fatal(err)
		}
		all = append(all, entries...)
	}
	return all
}

func readPage(name string) ([]entry, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var entries []entry
	for lines := json.NewDecoder(bufio.NewReader(file)); ; {
		var l line
		if err := lines.Decode(&l); errors.Is(err, io.EOF) {
			return entries, nil
		} else if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		switch {
		case l.Attempt != nil:
			entries = append(entries, entry{write: *l.Attempt})
		case l.Acknowledged != "":
			last := &entries[len(entries)-1]
			if last.ID != l.Acknowledged {
				return nil, fmt.Errorf("%s: %s is acknowledged after the attempt of %s", name, l.Acknowledged, last.ID)
			}
			last.acknowledged, last.number = true, l.Number
		}
	}
}
