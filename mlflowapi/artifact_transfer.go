package mlflowapi

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
)

const (
	// transferIdle is how long a transfer may stand still: long transfers are fine, dead ones must not pile up.
	transferIdle = time.Minute
	// maxDrain is how much of a refused upload is read, in bytes: a client that is still sending does not hear the answer.
	maxDrain = 256 << 20
)

// artifactPath is the end of the request's path, decoded exactly once. It is not gin's parameter, in which a plus sign
// becomes a space.
func artifactPath(c *gin.Context) string {
	return strings.TrimPrefix(c.Request.URL.Path, strings.TrimSuffix(c.FullPath(), "*path"))
}

// upload is a request's body that may stand still only for so long. It remembers that reading it failed, which is no
// failure of the server.
type upload struct {
	c       *gin.Context
	control *http.ResponseController
}

func newUpload(c *gin.Context) *upload {
	return &upload{c: c, control: http.NewResponseController(c.Writer)}
}

func (u *upload) Read(p []byte) (int, error) {
	setDeadline(u.control.SetReadDeadline, time.Now().Add(transferIdle))
	n, err := u.c.Request.Body.Read(p)
	switch {
	case err == nil:
		return n, nil
	case errors.Is(err, io.EOF):
		// The server goes on to watch the connection while the file is made durable.
		setDeadline(u.control.SetReadDeadline, time.Time{})
		return n, err
	}
	return n, invalid("The upload broke off, and nothing was stored: %v.", err)
}

// limited refuses a body of more than limit bytes.
func (u *upload) limited(limit int64) io.Reader {
	return &limitedReader{u, limit, &requestTooLarge{limit: limit}}
}

type limitedReader struct {
	r       io.Reader
	left    int64
	refusal error
}

func (l *limitedReader) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	if l.left -= int64(n); l.left < 0 {
		return 0, l.refusal
	}
	return n, err
}

// drain reads on after a refusal, unless the client waits for permission to send.
func (u *upload) drain() {
	if u.c.GetHeader("Expect") == "" {
		io.CopyN(io.Discard, u, maxDrain) //nolint:errcheck // the answer is an error already
	}
}

// patient is an answer whose reader may stand still only for so long.
type patient struct {
	http.ResponseWriter
	control *http.ResponseController
}

func newPatient(c *gin.Context) *patient {
	return &patient{c.Writer, http.NewResponseController(c.Writer)}
}

func (p *patient) Write(b []byte) (int, error) {
	p.more()
	return p.ResponseWriter.Write(b)
}

// more gives the reader time for the next bytes.
func (p *patient) more() { setDeadline(p.control.SetWriteDeadline, time.Now().Add(transferIdle)) }

// done lets the connection serve its next request whenever that comes.
func (p *patient) done() { setDeadline(p.control.SetWriteDeadline, time.Time{}) }

// setDeadline ignores a connection without deadlines: then there are none to keep.
func setDeadline(set func(time.Time) error, t time.Time) { _ = set(t) }

// textTypes are extensions, or names without one, that MLflow shows as text.
const textTypes = " txt log err cfg conf cnf cf ini properties prop hocon toml yaml yml xml json js py py3 csv tsv md rst ipynb MLmodel MLproject "

// mediaTypes are the others that are common among artifacts; a table of the system would differ from one machine to the next.
var mediaTypes = map[string]string{
	"avi": "video/x-msvideo", "bmp": "image/bmp", "bz2": "application/x-bzip2", "css": "text/css", "gif": "image/gif", "gz": "application/gzip",
	"h5": "application/x-hdf5", "htm": "text/html", "html": "text/html", "ico": "image/vnd.microsoft.icon", "jpe": "image/jpeg", "jpeg": "image/jpeg",
	"jpg": "image/jpeg", "mjs": "application/javascript", "mov": "video/quicktime", "mp3": "audio/mpeg", "mp4": "video/mp4", "pdf": "application/pdf",
	"png": "image/png", "svg": "image/svg+xml", "tar": "application/x-tar", "tgz": "application/gzip", "tif": "image/tiff", "tiff": "image/tiff",
	"wasm": "application/wasm", "wav": "audio/x-wav", "webm": "video/webm", "webp": "image/webp", "xz": "application/x-xz", "zip": "application/zip",
}

// contentType guesses by the name alone; what is not known is bytes.
func contentType(name string) string {
	extension := strings.TrimPrefix(path.Ext(name), ".")
	if extension == "" {
		extension = name
	}
	if strings.Contains(textTypes, " "+extension+" ") {
		return "text/plain"
	}
	if known := mediaTypes[strings.ToLower(extension)]; known != "" && extension != name {
		return known
	}
	return "application/octet-stream"
}

// attachment is the Content-Disposition of RFC 6266. A name that is not ASCII comes with an ASCII one for old programs.
func attachment(name string) string {
	ascii := strings.Map(func(r rune) rune {
		if r >= ' ' && r < 0x7f {
			return r
		}
		return '_'
	}, name)
	header := mime.FormatMediaType("attachment", map[string]string{"filename": ascii})
	if ascii != name {
		header += "; filename*=UTF-8''" + strings.ReplaceAll(url.QueryEscape(name), "+", "%20")
	}
	return header
}
