package mlflowapi

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"greenroom/models"
)

func TestNextToken_IsReadBack(t *testing.T) {
	text := "é \"1\""
	for _, want := range []models.Cursor{{Offset: 7}, {Offset: 3, After: []*string{&text, nil}, Search: "ab"}} {
		next := want
		next.More = true
		token, err := nextToken(models.Page{Cursor: &next})
		if err != nil {
			t.Fatal(err)
		}
		got, err := readCursor(token)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(&want, got); diff != "" {
			t.Error(diff)
		}
	}
}

func TestReadCursor_TakesMLflowsTokens(t *testing.T) {
	got, err := readCursor(base64.StdEncoding.EncodeToString([]byte(`{"offset": 12}`)))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&models.Cursor{Offset: 12}, got); diff != "" {
		t.Error(diff)
	}
}

func TestReadCursor_RefusesWhatIsNoToken(t *testing.T) {
	for _, text := range []string{`{}`, `[]`, `{"offset": -1}`, `{"offset": "1"}`, `{"offset": 1, "greenroom": {"after": [1]}}`, `{"offset": 1, "greenroom": []}`} {
		if _, err := readCursor(base64.StdEncoding.EncodeToString([]byte(text))); err == nil || !strings.Contains(err.Error(), "Invalid page token") {
			t.Errorf("%s: got error %v", text, err)
		}
	}
}
