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

	"greenroom/models"
)

// setDigest tells the digest of a whole file, as RFC 9530 writes it and as RFC 3230 did.
func setDigest(h http.Header, sha256 []byte) {
	text := base64.StdEncoding.EncodeToString(sha256)
	h.Set("Repr-Digest", "sha-256=:"+text+":")
	h.Set("Digest", "sha-256="+text)
}

var errAltered = errors.New("the file is not what was stored")

// digestCheck compares a whole file that passes with its digest.
type digestCheck struct {
	want   []byte
	sum    hash.Hash
	left   int64 // bytes of the file
	failed bool
}

// newDigestCheck gives nil for a file that has not been read yet.
func newDigestCheck(r models.ArtifactRecord) (*digestCheck, error) {
	if r.SHA256 == "" {
		return nil, nil
	}
	want, err := hex.DecodeString(r.SHA256)
	if err != nil {
		return nil, fmt.Errorf("digest of '%s' in the database: %w", r.Location, err)
	}
	return &digestCheck{want: want, sum: sha256.New(), left: r.Size}, nil
}

// pass takes the next bytes, and tells whether they may be sent on: the last ones not if the file is another.
func (d *digestCheck) pass(p []byte) bool {
	d.sum.Write(p)
	d.left -= int64(len(p))
	d.failed = d.failed || d.left == 0 && !bytes.Equal(d.sum.Sum(nil), d.want)
	return !d.failed
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
