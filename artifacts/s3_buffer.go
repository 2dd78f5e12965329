package artifacts

import (
	"bytes"
	"io"
	"sync"
)

const (
	// partBytes is the size of a buffer, and the least that S3 takes as a part.
	partBytes = 5 << 20
	// maxBufferBytes are lent out over all uploads of a store, for what can do without.
	maxBufferBytes = 4 * partBytes
	// keptBuffers stay allocated while no upload needs them.
	keptBuffers = 2
)

// buffers lends out memory for the parts of uploads. It lies outside of Go's heap, which would let it grow to the double
// before it collected any.
type buffers struct {
	mu   sync.Mutex
	used int      // bytes lent out
	free [][]byte // of partBytes each
}

// take lends a buffer of size bytes, or nil when enough are lent out and it can be done without.
func (b *buffers) take(size int, needed bool) ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.used+size > maxBufferBytes && !needed {
		return nil, nil
	}
	if size == partBytes && len(b.free) > 0 {
		buffer := b.free[len(b.free)-1]
		b.free = b.free[:len(b.free)-1]
		b.used += size
		return buffer, nil
	}
	buffer, err := allocate(size)
	if err == nil {
		b.used += size
	}
	return buffer, err
}

// give takes a buffer back.
func (b *buffers) give(buffer []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used -= len(buffer)
	if len(buffer) == partBytes && len(b.free) < keptBuffers {
		b.free = append(b.free, buffer)
		return
	}
	release(buffer)
}

// lent reads a buffer as the body of a request, until it is taken back. What sends a request may hold on to its body for
// longer than the request takes.
type lent struct {
	mu     sync.Mutex
	reader *bytes.Reader
}

func lend(buffer []byte) *lent { return &lent{reader: bytes.NewReader(buffer)} }

func (l *lent) Read(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.reader.Read(p)
}

func (l *lent) Seek(offset int64, whence int) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.reader.Seek(offset, whence)
}

// takeBack returns when nobody reads the buffer any more.
func (l *lent) takeBack() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reader = bytes.NewReader(nil)
}

var _ io.ReadSeeker = (*lent)(nil)
