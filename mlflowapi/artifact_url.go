package mlflowapi

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gin-gonic/gin"

	"greenroom/artifacts"
	"greenroom/models"
)

// Which URLs clients get for parallel transfers.
const (
	// PresignedAuto stands for those of the storage, or this server's where the storage has none.
	PresignedAuto = "auto"
	// PresignedServer stands for this server's, for clients that can't reach the storage.
	PresignedServer = "server"
	// PresignedOff stands for none: files are streamed through the server in one piece.
	PresignedOff = "off"
)

const (
	// DefaultDownloadURLTime is longer than MLflow's five minutes: a client downloads all of a big file with one URL.
	DefaultDownloadURLTime = 15 * time.Minute
	// partURLTime is for the slowest upload: a client gets the URLs of all parts when it begins.
	partURLTime = 12 * time.Hour
	// maxUploadURLTime bounds how long a file can be replaced with a URL, whatever has become of it since.
	maxUploadURLTime = time.Hour
	// maxPartBytes is that of S3.
	maxPartBytes = 5 << 30

	// transferPath is where this server's own URLs lead, which need no log-in.
	transferPath = "/api" + proxyBase + "/transfer/*path"
	// urlKeyName is the name of the key that signs them.
	urlKeyName = "artifact-urls"
)

// transferURLs gives out URLs by which clients transfer files without a log-in.
type transferURLs interface {
	// get is for reading a file as long as it has the ETag.
	get(ctx context.Context, at artifacts.Place, etag string) (artifacts.Presigned, error)
	part(ctx context.Context, at artifacts.Place, upload string, number int) (artifacts.Presigned, error)
}

// urls gives out the URLs that the sender of a request can use for a store; nil if there are none.
func (a *API) urls(c *gin.Context, store artifacts.Store) transferURLs {
	if a.cfg.PresignedURLs == PresignedOff || store == nil {
		return nil
	}
	if presigner, ok := store.(artifacts.Presigner); ok && a.cfg.PresignedURLs != PresignedServer {
		return storeURLs{presigner, a.downloadURLTime()}
	}
	if base := a.clientBase(c); base != "" {
		return &ownURLs{a.signer, base, a.downloadURLTime()}
	}
	return nil
}

func (a *API) downloadURLTime() time.Duration {
	if a.cfg.DownloadURLTime == 0 {
		return DefaultDownloadURLTime
	}
	return a.cfg.DownloadURLTime
}

// storeURLs are those of the storage.
type storeURLs struct {
	artifacts.Presigner
	ttl time.Duration
}

func (u storeURLs) get(ctx context.Context, at artifacts.Place, etag string) (artifacts.Presigned, error) {
	signed, err := u.PresignGet(ctx, at.Path, u.ttl)
	if err == nil {
		// The storage refuses a file that is replaced meanwhile, of which the client would get the other half.
		signed.Header = headers(signed)
		signed.Header["If-Match"] = etag
	}
	return signed, err
}

func (u storeURLs) part(ctx context.Context, at artifacts.Place, upload string, number int) (artifacts.Presigned, error) {
	return u.PresignPart(ctx, at.Path, upload, number, partURLTime)
}

// ownURLs lead to this server.
type ownURLs struct {
	*urlSigner
	base string
	ttl  time.Duration
}

func (u *ownURLs) get(ctx context.Context, at artifacts.Place, etag string) (artifacts.Presigned, error) {
	return u.url(ctx, transfer{method: http.MethodGet, path: at.Path, etag: etag}, u.ttl)
}

func (u *ownURLs) part(ctx context.Context, at artifacts.Place, upload string, number int) (artifacts.Presigned, error) {
	return u.url(ctx, transfer{method: http.MethodPut, path: at.Path, upload: upload, part: strconv.Itoa(number)}, partURLTime)
}

func (u *ownURLs) url(ctx context.Context, t transfer, ttl time.Duration) (artifacts.Presigned, error) {
	query, err := u.sign(ctx, t, ttl)
	if err != nil {
		return artifacts.Presigned{}, err
	}
	target := url.URL{Path: strings.TrimSuffix(transferPath, "*path") + t.path}
	return artifacts.Presigned{URL: u.base + target.EscapedPath() + "?" + query}, nil
}

// transfer is what one URL of this server allows.
type transfer struct {
	method       string // GET stands for HEAD too
	path         string // of the file in the served store, canonical
	upload, part string // of a PUT
	etag         string // of a GET
}

// urlSigner signs URLs and checks them, with a key that all replicas share.
type urlSigner struct {
	store *models.Store
	now   func() time.Time

	mu  sync.Mutex
	key []byte // nil until it is needed
}

// sign gives the query of a URL that is good for a time.
func (s *urlSigner) sign(ctx context.Context, t transfer, ttl time.Duration) (query string, err error) {
	expires := strconv.FormatInt(s.now().Add(ttl).Unix(), 10)
	sum, err := s.mac(ctx, t, expires)
	if err != nil {
		return "", err
	}
	values := url.Values{"expires": {expires}, "signature": {hex.EncodeToString(sum)}}
	for name, value := range map[string]string{"upload": t.upload, "part": t.part, "etag": t.etag} {
		if value != "" {
			values.Set(name, value)
		}
	}
	return values.Encode(), nil
}

// check gives what a URL allows, if it is signed for the method and the path, and not expired. The errors hold nothing of the query.
func (s *urlSigner) check(ctx context.Context, method, path string, query url.Values) (transfer, error) {
	if method == http.MethodHead {
		method = http.MethodGet
	}
	t := transfer{method, path, query.Get("upload"), query.Get("part"), query.Get("etag")}
	expires := query.Get("expires")
	want, err := s.mac(ctx, t, expires)
	if err != nil {
		return transfer{}, err
	}
	got, err := hex.DecodeString(query.Get("signature"))
	if err != nil || !hmac.Equal(got, want) {
		return transfer{}, &models.Error{Code: models.PermissionDenied, Message: "The signature of this URL does not fit: use the URL as it was given out, with the method it was given out for."}
	}
	if end, err := strconv.ParseInt(expires, 10, 64); err != nil || s.now().Unix() >= end {
		return transfer{}, &models.Error{Code: models.PermissionDenied, Message: "This URL has expired: ask the server for a new one."}
	}
	return t, nil
}

// mac is that of a text in which no two transfers look alike, as each field comes with its length.
func (s *urlSigner) mac(ctx context.Context, t transfer, expires string) ([]byte, error) {
	key, err := s.secret(ctx)
	if err != nil {
		return nil, err
	}
	h := hmac.New(sha256.New, key)
	for _, field := range []string{"greenroom-transfer-1", t.method, t.path, expires, t.upload, t.part, t.etag} {
		fmt.Fprintf(h, "%d:%s\n", len(field), field)
	}
	return h.Sum(nil), nil
}

func (s *urlSigner) secret(ctx context.Context) (key []byte, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.key == nil {
		s.key, err = s.store.Secret(ctx, urlKeyName)
	}
	return s.key, err
}

// clientBase is the address, with the static prefix, under which the sender of a request reaches this server; "" if that can't be known.
func (a *API) clientBase(c *gin.Context) string {
	if a.cfg.PublicURL != "" {
		return a.cfg.PublicURL
	}
	h := c.Request.Header
	proxied := slices.ContainsFunc(slices.Collect(maps.Keys(h)), func(name string) bool {
		return strings.HasPrefix(name, "X-Forwarded-") || name == "Forwarded" || name == "Via"
	})
	if !proxied {
		return a.directBase(c.Request)
	}
	if !a.isTrusted(c.RemoteIP()) {
		return ""
	}
	scheme, host, prefix := firstOf(h, "X-Forwarded-Proto"), firstOf(h, "X-Forwarded-Host"), firstOf(h, "X-Forwarded-Prefix")
	if host == "" {
		host = c.Request.Host
	}
	switch {
	case scheme == "https" && a.cfg.PresignedURLs != PresignedServer:
		// Clients leave MLFLOW_TRACKING_SERVER_CERT_PATH and the like aside with such a URL, and a download that was promised one fails
		// without it: whether they trust the proxy's certificate anyway, the operator must say.
		return ""
	case scheme != "http" && scheme != "https":
		return "" // a proxy that does not tell may well speak TLS to its clients
	}
	prefix = strings.TrimSuffix(prefix, "/")
	if prefix == a.cfg.StaticPrefix {
		prefix = "" // the proxy names it, and leaves it where it is
	}
	return checkBase(scheme, host, prefix+a.cfg.StaticPrefix)
}

// directBase is the address in a request that no proxy has marked. A client names every port but its scheme's own, and this server speaks
// plain HTTP: a Host without a port comes to port 80, or through something that hides what the client knows. So does HTTP/1.0, which
// only proxies speak.
func (a *API) directBase(r *http.Request) string {
	if !r.ProtoAtLeast(1, 1) {
		return ""
	}
	if _, _, err := net.SplitHostPort(r.Host); err != nil {
		local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		if local == nil || !strings.HasSuffix(local.String(), ":80") {
			return ""
		}
	}
	return checkBase("http", r.Host, a.cfg.StaticPrefix)
}

// checkBase puts an address together, if it is one.
func checkBase(scheme, host, prefix string) string {
	base := scheme + "://" + host + prefix
	u, err := url.Parse(base)
	if err != nil || u.Host != host || u.Hostname() == "" || u.User != nil || u.EscapedPath() != prefix || u.RawQuery != "" || u.Fragment != "" || strings.HasPrefix(prefix, "//") {
		return ""
	}
	return base
}

// isTrusted tells whether a peer is one of the operator's proxies.
func (a *API) isTrusted(peer string) bool {
	address, err := netip.ParseAddr(peer)
	return err == nil && slices.ContainsFunc(a.cfg.TrustedProxies, func(network netip.Prefix) bool { return network.Contains(address.Unmap()) })
}

// firstOf is what the proxy next to the client wrote into a header.
func firstOf(h http.Header, name string) string {
	first, _, _ := strings.Cut(h.Get(name), ",")
	return strings.TrimSpace(first)
}

// lengthRequired is a body that does not tell its length.
type lengthRequired struct{}

func (lengthRequired) Error() string { return "Send the part with a Content-Length." }

// isTransfer tells whether a route goes by the signature of its URL, in place of a log-in.
func (a *API) isTransfer(route string) bool { return route == a.cfg.StaticPrefix+transferPath }

// mountTransfers adds the routes of this server's own URLs.
func (a *API) mountTransfers(root *gin.RouterGroup) {
	root.PUT(transferPath, a.receivePart)
	root.GET(transferPath, a.sendTransfer)
	root.HEAD(transferPath, a.sendTransfer)
}

// signed gives the file that a URL leads to, and what it allows there.
func (a *API) signed(c *gin.Context) (artifacts.Place, transfer, error) {
	at, err := a.servedFile(artifactPath(c))
	if err != nil {
		return artifacts.Place{}, transfer{}, err
	}
	t, err := a.signer.check(c.Request.Context(), c.Request.Method, at.Path, c.Request.URL.Query())
	return at, t, err
}

// sendTransfer sends a file, or a range of it, if it is still the one that the URL was given out for.
func (a *API) sendTransfer(c *gin.Context) {
	at, t, err := a.signed(c)
	if err == nil {
		c.Request.Header.Set("If-Match", t.etag)
		err = a.sendArtifact(c, at)
	}
	if err != nil {
		a.fail(c, err)
	}
}

// receivePart stores a part of an upload.
func (a *API) receivePart(c *gin.Context) {
	body := newUpload(c)
	etag, err := a.storePart(c, body)
	if err != nil {
		body.drain()
		a.fail(c, err)
		return
	}
	c.Header("ETag", etag)
	c.Status(http.StatusOK)
}

func (a *API) storePart(c *gin.Context, body *upload) (etag string, err error) {
	signed, t, err := a.signed(c)
	if err != nil {
		return "", err
	}
	at, err := a.multipart(signed.Path)
	if err != nil {
		return "", err
	}
	size := c.Request.ContentLength
	switch {
	case size < 0:
		return "", lengthRequired{}
	case size > maxPartBytes:
		return "", &requestTooLarge{limit: maxPartBytes}
	}
	if err := a.checkSize(size); err != nil {
		return "", err
	}
	number, err := strconv.Atoi(t.part)
	if err != nil {
		return "", err // nobody signs that
	}
	etag, err = at.parts.PutPart(c.Request.Context(), at.Path, t.upload, number, body, size)
	return etag, uploadError(at.Path, err)
}
