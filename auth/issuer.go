package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"greenroom/panics"
)

const (
	keysFresh    = 5 * time.Minute  // after this, keys are fetched again
	fetchPause   = 30 * time.Second // between two fetches from one issuer
	emptyPause   = 5 * time.Second  // the same, as long as there are no keys at all
	fetchTimeout = 5 * time.Second
	maxDocument  = 1 << 20 // bytes
)

// issuer is an OpenID Connect issuer and the keys it publishes.
type issuer struct {
	url    string
	client *http.Client
	now    func() time.Time
	log    *slog.Logger

	mu      sync.Mutex
	set     keySet        // the last good ones
	fetched time.Time     // when they came
	tried   time.Time     // when the last fetch ended, well or not
	failed  error         // why it did not end well
	flight  chan struct{} // closed when the running fetch ends; nil while there is none

	jwksURI string // from the discovery document; belongs to the running fetch
}

func newIssuer(address string, o JWTOptions) (*issuer, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("issuer %q: %w", address, err)
	}
	if !isSafe(u, true) || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("issuer %q: give an https URL (http on loopback only) without user, ? and #, as it is in the iss of its tokens", address)
	}
	client := http.Client{}
	if o.HTTPClient != nil {
		client = *o.HTTPClient
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return errors.New("it redirects, which is not followed") }
	return &issuer{url: address, client: &client, now: o.Now, log: o.Log}, nil
}

// isSafe tells whether nobody on the way can change what a URL answers.
func isSafe(u *url.URL, loopback bool) bool {
	return u.Host != "" && (u.Scheme == "https" || loopback && u.Scheme == "http" && IsLoopback(u.Hostname()))
}

func (i *issuer) keys(ctx context.Context, renew bool) (keySet, error) {
	i.mu.Lock()
	now := i.now()
	stale := now.Sub(i.fetched) >= keysFresh
	pause := fetchPause
	if i.set == nil {
		pause = emptyPause
	}
	if i.flight == nil && (renew || stale) && now.Sub(i.tried) >= pause {
		i.flight = make(chan struct{})
		go i.fly(context.WithoutCancel(ctx), i.flight) // others wait for it, whatever becomes of this request
	}
	// Once the issuer is known to be down, requests do well with the last good keys and do not wait for it.
	flight := i.flight
	if !renew && i.set != nil && (!stale || i.failed != nil) {
		flight = nil
	}
	i.mu.Unlock()
	if flight != nil {
		select {
		case <-flight:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", ErrIssuerUnavailable, ctx.Err())
		}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.failed != nil {
		return i.set, fmt.Errorf("%w: %w", ErrIssuerUnavailable, i.failed)
	}
	return i.set, nil
}

// fly fetches the keys once.
func (i *issuer) fly(ctx context.Context, landed chan struct{}) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	set, err := panics.Result(func() (keySet, error) { return i.fetch(ctx) })
	i.mu.Lock()
	defer i.mu.Unlock()
	i.tried = i.now()
	if err == nil {
		i.set, i.fetched = set, i.tried
		if len(set) == 0 {
			err = errors.New("it publishes no key that can verify a token")
		}
	}
	if err != nil {
		i.jwksURI = "" // it may have moved
		i.log.WarnContext(ctx, "the issuer's keys cannot be fetched", slog.String("issuer", i.url), slog.String("error", err.Error()),
			slog.Int("last_good_keys", len(i.set)))
	}
	i.failed, i.flight = err, nil
	close(landed)
}

// fetch reads the discovery document, if that is not done yet, and the keys.
func (i *issuer) fetch(ctx context.Context) (keySet, error) {
	if i.jwksURI == "" {
		var d struct {
			Issuer  string `json:"issuer"`
			JWKSURI string `json:"jwks_uri"`
		}
		if err := i.get(ctx, strings.TrimSuffix(i.url, "/")+"/.well-known/openid-configuration", &d); err != nil {
			return nil, err
		}
		if d.Issuer != i.url {
			return nil, fmt.Errorf("its discovery document is of another issuer, %.80q", d.Issuer)
		}
		if u, err := url.Parse(d.JWKSURI); err != nil || !isSafe(u, strings.HasPrefix(i.url, "http:")) {
			return nil, fmt.Errorf("its jwks_uri %.80q is not https", d.JWKSURI)
		}
		i.jwksURI = d.JWKSURI
	}
	var d struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := i.get(ctx, i.jwksURI, &d); err != nil {
		return nil, err
	}
	if d.Keys == nil {
		return nil, fmt.Errorf("%s is not a JSON Web Key Set", i.jwksURI)
	}
	set := keySet{}
	for _, raw := range d.Keys {
		k, err := parseKey(raw, false)
		if err != nil { // a set may have keys for other purposes
			i.log.DebugContext(ctx, "key of an issuer not used", slog.String("issuer", i.url), slog.String("kid", k.id), slog.String("reason", err.Error()))
			continue
		}
		set = append(set, k)
	}
	return set, nil
}

// get reads a JSON document.
func (i *issuer) get(ctx context.Context, address string, document any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	request.Header.Set("Accept", "application/json")
	response, err := i.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", address, response.Status)
	}
	body, err := io.ReadAll(http.MaxBytesReader(nil, response.Body, maxDocument))
	if err != nil {
		return fmt.Errorf("GET %s: %w", address, err)
	}
	if err := json.Unmarshal(body, document); err != nil {
		return fmt.Errorf("GET %s: %w", address, err)
	}
	return nil
}
