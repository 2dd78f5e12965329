package mlflowapi

import (
	"encoding/base64"
	"errors"
	"reflect"
	"strconv"
	"testing"

	"greenroom/models"
)

// A page token of any text is read or the client's mistake, and what was read is read from its own token again.
func FuzzPageToken(f *testing.F) {
	for _, seed := range []string{"", pageToken(0), pageToken(1 << 40), "e30=", "bnVsbA==", "eyJvZmZzZXQiOiAtMX0=", "eyJvZmZzZXQiOiAxZTN9", "%", "====", "W10="} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, token string) {
		offset, err := pageOffset(token)
		if err != nil {
			if known := new(models.Error); !errors.As(err, &known) || known.Code != models.InvalidParameterValue {
				t.Fatalf("%q: %v", token, err)
			}
			return
		}
		if again, err := pageOffset(pageToken(offset)); offset < 0 || again != offset || err != nil {
			t.Fatalf("%q is offset %d, whose token is %d, %v", token, offset, again, err)
		}
	})
}

// The same of the tokens that searches give out, which hold a row.
func FuzzCursor(f *testing.F) {
	for _, seed := range []string{"", pageToken(5), "e30=", "bnVsbA==", "eyJvZmZzZXQiOjEsImdyZWVucm9vbSI6eyJhZnRlciI6W251bGxdLCJzZWFyY2giOiJ4In19"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, token string) {
		cursor, err := readCursor(token)
		if err != nil {
			if known := new(models.Error); !errors.As(err, &known) || known.Code != models.InvalidParameterValue {
				t.Fatalf("%q: %v", token, err)
			}
			return
		}
		cursor.More = true
		text, err := nextToken(models.Page{Cursor: cursor})
		if err != nil {
			t.Fatalf("%q: %v", token, err)
		}
		again, err := readCursor(text)
		if err != nil {
			t.Fatalf("%q is %+v, whose token %q is refused: %v", token, cursor, text, err)
		}
		if again.More = true; !reflect.DeepEqual(again, cursor) {
			t.Fatalf("%q is %+v, whose token is %+v", token, cursor, again)
		}
	})
}

// pageToken is base64 of {"offset": N}, the form MLflow's own tokens have.
func pageToken(offset int) string {
	return base64.StdEncoding.EncodeToString([]byte(`{"offset": ` + strconv.Itoa(offset) + `}`))
}
