package mlflowapi

import (
	"context"
	"encoding/base64"
	"encoding/json"

	"greenroom/models"
)

const (
	defaultAuditResults = 100
	maxAuditResults     = 1000
)

// auditOutcome is an entry's outcome on the wire.
type auditOutcome string

func (auditOutcome) enumNames() map[int64]string {
	return map[int64]string{1: string(models.AuditAllowed), 2: string(models.AuditRefused)}
}

type searchAuditRequest struct {
	adminOnly
	User       string       `json:"user"`
	Object     string       `json:"object"` // * stands for any text
	Action     string       `json:"action"` // here, too
	Outcome    auditOutcome `json:"outcome"`
	Since      *int64       `json:"since"` // milliseconds since 1970
	Until      *int64       `json:"until"` // not included
	MaxResults *int64       `json:"max_results"`
	PageToken  string       `json:"page_token"`
}

type searchAuditResponse struct {
	Entries       []*models.AuditEntry `json:"entries"`
	NextPageToken string               `json:"next_page_token,omitempty"`
}

// auditPage is the content of a page token: entries come in while somebody reads, so pages end at an entry, not at a number.
type auditPage struct {
	Before string `json:"before"`
}

func (a *API) searchAudit(ctx context.Context, req *searchAuditRequest) (*searchAuditResponse, error) {
	results := int64(defaultAuditResults)
	if req.MaxResults != nil {
		results = *req.MaxResults
	}
	size, err := pageSize(results, maxAuditResults)
	if err != nil {
		return nil, err
	}
	var page auditPage
	if req.PageToken != "" {
		if err := readPageToken(req.PageToken, &page, func() bool { return page.Before != "" }); err != nil {
			return nil, err
		}
	}
	found, err := a.store.SearchAudit(ctx, models.AuditFilter{
		User: req.User, Object: req.Object, Action: req.Action, Outcome: models.AuditOutcome(req.Outcome),
		Since: req.Since, Until: req.Until, Before: page.Before, Limit: size + 1,
	})
	if err != nil {
		return nil, err
	}
	resp := &searchAuditResponse{Entries: append([]*models.AuditEntry{}, found...)} // [] for none
	if len(found) > size {
		resp.Entries = found[:size]
		token, err := json.Marshal(auditPage{found[size-1].ID})
		if err != nil {
			return nil, err
		}
		resp.NextPageToken = base64.StdEncoding.EncodeToString(token)
	}
	return resp, nil
}
