package mlflowapi

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"net"
	"net/http"

	"github.com/gin-gonic/gin"

	"greenroom/artifacts"
	"greenroom/models"
)

// setDigest tells the digest of a whole file, as RFC 9530 writes it and as RFC 3230 did.
func setDigest(h http.Header, sha256 []byte) {
	text := base64.StdEncoding.EncodeToString(sha256)
	h.Set("Repr-Digest", "sha-256=:"+text+":")
	h.Set("Digest", "sha-256="+text)
}

var (
	errAltered = errors.New("the file is not what was stored")
	errChanged = errors.New("the file was changed while it was sent")
)

// digestCheck compares a whole file that passes with its digest.
type digestCheck struct {
	want   []byte
	sum    hash.Hash
	object *artifacts.Object
	// memory is nil for a small file, and for one in a store that marks no states: they are compared each time.
	memory *comparisons
	state  comparison
	recent bool // it was compared in this state a short while ago
}

// newDigestCheck gives nil for a file that has not been read yet.
func (a *API) newDigestCheck(r models.ArtifactRecord, object *artifacts.Object) (*digestCheck, error) {
	if r.SHA256 == "" {
		return nil, nil
	}
	want, err := hex.DecodeString(r.SHA256)
	if err != nil {
		return nil, fmt.Errorf("digest of '%s' in the database: %w", r.Location, err)
	}
	check := &digestCheck{want: want, sum: sha256.New(), object: object}
	if object.Stamp == nil || object.Size <= downloadPart {
		return check, nil
	}
	if stamp, ok := object.Stamp(); ok {
		check.memory, check.state = a.compared, comparison{stamp, r.SHA256}
		check.recent = check.memory.has(check.state)
	}
	return check, nil
}

// ends takes the last bytes of the file, and tells whether they may be sent on.
func (d *digestCheck) ends(last []byte) bool {
	d.sum.Write(last)
	if !bytes.Equal(d.sum.Sum(nil), d.want) {
		return false
	}
	if d.memory != nil && d.unchanged() {
		d.memory.note(d.state)
	}
	return true
}

// unchanged tells whether the file is still in the state in which it was before anything was read.
func (d *digestCheck) unchanged() bool {
	stamp, ok := d.object.Stamp()
	return ok && stamp == d.state.stamp
}

// breakOff ends the connection of an answer that has begun, by a reset where that is possible: many clients take for whole
// what merely ends.
func breakOff(c *gin.Context) {
	var w http.ResponseWriter = c.Writer
	if inner, ok := w.(interface{ Unwrap() http.ResponseWriter }); ok {
		w = inner.Unwrap() // gin's own refuses once something was written
	}
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // else it is closed without a reset
	}
	conn.Close()
}
