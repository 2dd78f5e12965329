package mlflowapi

import (
	"encoding/base64"
	"encoding/json"
	"strings"

	"greenroom/models"
)

// pageOf checks the size of a page, where an absent one is the default, and reads the page token. The page is then where the
// search begins, and nextToken gives the token for what follows.
func pageOf(maxResults *int64, unset, most int64, token string) (page models.Page, err error) {
	if maxResults == nil {
		maxResults = &unset
	}
	if page.Limit, err = pageSize(*maxResults, most); err != nil {
		return page, err
	}
	page.Cursor, err = readCursor(token)
	return page, err
}

// cursorToken is the content of a search's page token: what MLflow's own tokens have, so that its server understands ours and
// we its, and the rest of the cursor, which MLflow ignores.
type cursorToken struct {
	Offset    *int      `json:"offset"`
	Greenroom *afterRow `json:"greenroom,omitempty"`
}

type afterRow struct {
	After  []*string `json:"after"`
	Search string    `json:"search"`
}

// readCursor reads the page token of a search; "" is the first page.
func readCursor(token string) (*models.Cursor, error) {
	if token == "" {
		return &models.Cursor{}, nil
	}
	var t cursorToken
	if err := readPageToken(token, &t, func() bool { return t.Offset != nil && *t.Offset >= 0 }); err != nil {
		return nil, err
	}
	c := &models.Cursor{Offset: *t.Offset}
	if t.Greenroom != nil && t.Greenroom.After != nil { // without a row, the offset is all there is
		c.After, c.Search = t.Greenroom.After, t.Greenroom.Search
	}
	return c, nil
}

// nextToken is the page token for what comes after a page that a search gave; "" if nothing does.
func nextToken(p models.Page) (string, error) {
	c := p.Cursor
	if !c.More {
		return "", nil
	}
	t := cursorToken{Offset: &c.Offset}
	if c.After != nil {
		t.Greenroom = &afterRow{c.After, c.Search}
	}
	text, err := json.Marshal(t)
	return base64.StdEncoding.EncodeToString(text), err
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
