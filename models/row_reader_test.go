package models

import (
	"encoding/binary"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
)

type scanned struct {
	Text     string
	Optional *string
	Whole    int64
	Real     float64
	Truth    bool
}

func (s *scanned) into() []any { return []any{&s.Text, &s.Optional, &s.Whole, &s.Real, &s.Truth} }

func TestScanPostgres_TakesEachFormOfAValue(t *testing.T) {
	optional := "o"
	before := scanned{"x", &optional, 1, 1, true}
	binaryForm := [][]byte{
		[]byte("a"), []byte("o"), binary.BigEndian.AppendUint64(nil, math.MaxUint64-1), binary.BigEndian.AppendUint64(nil, math.Float64bits(-0.5)), {1},
	}
	for name, c := range map[string]struct {
		raw    [][]byte
		format int16
		want   scanned
	}{
		"binary": {binaryForm, pgx.BinaryFormatCode, scanned{"a", &optional, -2, -0.5, true}},
		"text":   {[][]byte{[]byte("a"), []byte("o"), []byte("-2"), []byte("-0.5"), []byte("t")}, pgx.TextFormatCode, scanned{"a", &optional, -2, -0.5, true}},
		"null":   {make([][]byte, 5), pgx.BinaryFormatCode, scanned{}},
		"int4": {
			[][]byte{nil, nil, binary.BigEndian.AppendUint32(nil, math.MaxUint32), nil, {0}}, pgx.BinaryFormatCode, scanned{Whole: -1},
		},
	} {
		got := before
		for i, into := range got.into() {
			if err := scanPostgres(c.raw[i], c.format, into, new(strings.Builder)); err != nil {
				t.Errorf("%s, column %d: %v", name, i, err)
			}
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestScanSQLite_TakesWhatColumnsHold(t *testing.T) {
	optional := "o"
	for name, c := range map[string]struct {
		row  []any
		want scanned
	}{
		"as declared": {[]any{"a", "o", int64(-2), -0.5, int64(1)}, scanned{"a", &optional, -2, -0.5, true}},
		"blobs":       {[]any{[]byte("a"), []byte("o"), int64(1), int64(2), int64(0)}, scanned{"a", &optional, 1, 2, false}},
		"null":        {make([]any, 5), scanned{}},
	} {
		got := scanned{"x", &optional, 1, 1, true}
		for i, into := range got.into() {
			if err := scanSQLite(c.row[i], into); err != nil {
				t.Errorf("%s, column %d: %v", name, i, err)
			}
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestKeepText_KeepsTextsApart(t *testing.T) {
	var block strings.Builder
	var got, want []string
	for i := range 5000 {
		text := strings.Repeat(string(rune('a'+i%26)), i%1500)
		want = append(want, text)
		got = append(got, keepText(&block, []byte(text)))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestArrayText_IsPostgreSQLs(t *testing.T) {
	if got, want := arrayText([]string{"a", `b"\,{}`, ""}), `{"a","b\"\\,{}",""}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
