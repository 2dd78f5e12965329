package mlflowapi

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path"
	"sync"

	"github.com/gin-gonic/gin"

	"greenroom/artifacts"
)

// downloadPart is how many bytes of a file are sent at once; no more are held back at its end. A client that takes them slower than in transferIdle is given up.
const downloadPart = 256 << 10

// bytesByKernel is where a request's context has how many bytes gin has not seen.
const bytesByKernel = "greenroom.bytes-by-kernel"

// sendArtifact answers with a file: whole, a range of it, or "not modified". It is always a download under a sandbox, as an
// uploaded page must not run in this server's origin.
func (a *API) sendArtifact(c *gin.Context, at artifacts.Place) error {
	object, err := at.Store.Open(c.Request.Context(), at.Path)
	if err != nil {
		return artifactError(at.Path, err)
	}
	defer object.Close()
	name := path.Base(at.Path)
	h := c.Writer.Header()
	general := h.Clone()
	h.Set("Content-Type", contentType(name))
	h.Set("Content-Disposition", attachment(name))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "sandbox")
	h.Set("Cache-Control", "no-cache")
	h.Set("ETag", object.ETag)
	record, recorded, err := a.store.ArtifactRecord(c.Request.Context(), at.Location())
	if err != nil {
		return err
	}
	answer := newDownload(c, object)
	defer answer.done()
	if recorded && record.ETag == object.ETag {
		if answer.check, err = a.newDigestCheck(record, object); err != nil {
			return err
		}
	}
	if answer.check != nil {
		setDigest(h, answer.check.want)
	}
	http.ServeContent(answer, c.Request, "", object.ModTime, answer.content)
	if err = answer.content.err; err == nil {
		return nil
	}
	if errors.Is(err, errAltered) {
		err = fmt.Errorf("%w: the SHA-256 of '%s' is not %x", artifacts.ErrCorrupt, at.Location(), answer.check.want)
	}
	if !c.Writer.Written() {
		clear(h)
		maps.Copy(h, general)
		return artifactError(at.Path, err)
	}
	if c.Request.Context().Err() == nil {
		a.logFailure(c, fmt.Errorf("the download of '%s' was broken off: %w", at.Location(), err))
	}
	breakOff(c)
	return nil
}

// source remembers why a file could not be sent to its end, which http.ServeContent keeps to itself.
type source struct {
	io.ReadSeeker
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.ReadSeeker.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

// download is the answer that http.ServeContent writes a file to.
type download struct {
	*patient
	c       *gin.Context
	content *source
	check   *digestCheck // nil for a file whose digest is not known
	whole   bool         // not a range
}

func newDownload(c *gin.Context, object *artifacts.Object) *download {
	return &download{patient: newPatient(c), c: c, content: &source{ReadSeeker: object.ReadSeekCloser}}
}

func (d *download) WriteHeader(status int) {
	d.whole = status == http.StatusOK
	d.patient.WriteHeader(status)
}

// ReadFrom is how http.ServeContent sends a file, or a range of it.
func (d *download) ReadFrom(r io.Reader) (int64, error) {
	rest, single := r.(*io.LimitedReader)
	if single = single && rest.R == d.content; !single { // several ranges, put together
		return d.copy(r, downloadPart)
	}
	file, kernel := d.byKernel()
	switch {
	case d.whole && d.check != nil && (!d.check.recent || kernel == nil):
		return d.sendCompared(rest)
	case kernel != nil && rest.N > downloadPart:
		return d.sendByKernel(rest, file, kernel)
	}
	return d.copy(rest, min(rest.N, downloadPart))
}

func (d *download) copy(r io.Reader, part int64) (int64, error) {
	return io.CopyBuffer(struct{ io.Writer }{d}, r, make([]byte, max(part, 1)))
}

// byKernel gives what the kernel can send by itself, and to where; nil if it can't. That is past gin, whose writer has no ReadFrom.
func (d *download) byKernel() (*os.File, io.ReaderFrom) {
	file, ok := d.content.ReadSeeker.(*os.File)
	inner, unwraps := d.c.Writer.(interface{ Unwrap() http.ResponseWriter })
	if !ok || !unwraps {
		return nil, nil
	}
	direct, _ := inner.Unwrap().(io.ReaderFrom)
	return file, direct
}

// sendCompared sends a whole file. A part is added up while it is sent and the next one is read; the last one is held back
// until it is known what they add up to.
func (d *download) sendCompared(file *io.LimitedReader) (sent int64, err error) {
	part, spare := make([]byte, min(file.N, downloadPart)), []byte(nil)
	var summing sync.WaitGroup
	defer summing.Wait()
	for {
		n, readErr := io.ReadFull(file, part)
		filled := part[:n]
		summing.Wait()
		if readErr != nil || file.N == 0 {
			if d.content.err == nil && !d.check.ends(filled) {
				d.content.err = errAltered
			}
			if d.content.err != nil {
				return sent, d.content.err
			}
			n, err := d.Write(filled)
			return sent + int64(n), err
		}
		summing.Go(func() { d.check.sum.Write(filled) })
		n, err = d.Write(filled)
		if sent += int64(n); err != nil {
			return sent, err
		}
		if spare == nil {
			spare = make([]byte, len(part))
		}
		part, spare = spare, part
	}
}

// sendByKernel sends what need not be compared: a range, a file without a digest, and one that was compared a short while ago.
func (d *download) sendByKernel(rest *io.LimitedReader, file *os.File, kernel io.ReaderFrom) (sent int64, err error) {
	d.c.Writer.WriteHeaderNow()
	defer func() { d.c.Set(bytesByKernel, sent) }()
	for rest.N > 0 {
		if d.whole && d.check != nil && rest.N <= downloadPart && !d.check.unchanged() {
			d.content.err = errChanged
			return sent, errChanged
		}
		d.more()
		n, err := kernel.ReadFrom(&io.LimitedReader{R: file, N: min(rest.N, downloadPart)})
		sent += n
		rest.N -= n
		if err == nil && n > 0 {
			continue
		}
		// Whether the file failed or the client did, the file tells itself.
		if _, readErr := d.content.Read(make([]byte, 1)); errors.Is(readErr, io.EOF) {
			d.content.err = errChanged
		}
		return sent, cmp.Or(err, io.ErrUnexpectedEOF)
	}
	return sent, nil
}
