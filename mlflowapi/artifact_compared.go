package mlflowapi

import (
	"maps"
	"sync"
	"time"

	"greenroom/artifacts"
)

const (
	// comparedFor is how long a file counts as compared that nobody has changed since.
	comparedFor = 10 * time.Minute
	// settledAfter is how long after a change the next one surely has another time: no file system's clock is coarser.
	settledAfter = 2 * time.Second
	// mostCompared bounds how many files are remembered, at some 200 bytes each.
	mostCompared = 10_000
)

// comparison is a file in one state, and the digest it was found to have.
type comparison struct {
	stamp  artifacts.Stamp
	sha256 string
}

// comparisons remembers which files were read to their end and compared with their digests a short while ago, so that many
// who load one model don't have it read and summed for each of them.
type comparisons struct {
	now func() time.Time
	mu  sync.Mutex
	at  map[comparison]time.Time
}

func newComparisons(now func() time.Time) *comparisons {
	return &comparisons{now: now, at: map[comparison]time.Time{}}
}

func (c *comparisons) has(k comparison) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	at, ok := c.at[k]
	return ok && c.now().Sub(at) < comparedFor
}

// note remembers a comparison. A file that was changed just now might be changed once more in the same tick of its clock; it is
// compared again next time.
func (c *comparisons) note(k comparison) {
	now := c.now()
	if now.Sub(time.Unix(0, k.stamp.Changed)) < settledAfter {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.at) >= mostCompared {
		maps.DeleteFunc(c.at, func(_ comparison, at time.Time) bool { return now.Sub(at) >= comparedFor })
	}
	if len(c.at) < mostCompared {
		c.at[k] = now
	}
}
