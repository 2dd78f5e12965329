package mlflowapi

import (
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"
)

// pageOf checks the size of a page, where an absent one is the default, and reads the page token.
func pageOf(maxResults *int64, unset, most int64, token string) (size, offset int, err error) {
	if maxResults == nil {
		maxResults = &unset
	}
	if size, err = pageSize(*maxResults, most); err != nil {
		return 0, 0, err
	}
	offset, err = pageOffset(token)
	return size, offset, err
}

// pageSize checks how many results a search may give.
func pageSize(n, most int64) (int, error) {
	if n > most {
		return 0, invalid("Invalid value %d for parameter 'max_results' supplied. It must be at most %d", n, most)
	}
	if n <= 0 {
		return 0, invalid("Invalid value %d for parameter 'max_results' supplied. It must be a positive integer", n)
	}
	return int(n), nil
}

// A page token is base64 of {"offset": N}, the form MLflow's own tokens have.
func pageToken(offset int) string {
	return base64.StdEncoding.EncodeToString([]byte(`{"offset": ` + strconv.Itoa(offset) + `}`))
}

// pageOffset reads a page token; "" is the first page.
func pageOffset(token string) (int, error) {
	if token == "" {
		return 0, nil
	}
	var page struct {
		Offset *int `json:"offset"`
	}
	err := readPageToken(token, &page, func() bool { return page.Offset != nil && *page.Offset >= 0 })
	if err != nil {
		return 0, err
	}
	return *page.Offset, nil
}

// readPageToken decodes a token's JSON into page, and refuses a token whose content is not valid.
func readPageToken(token string, page any, valid func() bool) error {
	text, err := base64.StdEncoding.DecodeString(token)
	if err != nil {
		return invalid("Invalid page token, could not base64-decode")
	}
	if err := json.Unmarshal(text, page); err != nil || !valid() {
		return invalid("Invalid page token, parsed value=%s", strings.ToValidUTF8(string(text), "?"))
	}
	return nil
}

// nextPage cuts rows to the page's size and gives the token for what follows. A store that is asked for size+1 rows
// shows by the extra one that there is more.
func nextPage[T any](rows []T, offset, size int) ([]T, string) {
	if len(rows) <= size {
		return rows, ""
	}
	return rows[:size], pageToken(offset + size)
}
