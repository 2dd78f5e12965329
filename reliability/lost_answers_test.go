package reliability_test

import (
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"greenroom/models/modelstest"
)

// lossy drops answers that the server has sent, and sends the request again as it was, as clients do that retry blindly.
type lossy struct {
	next http.RoundTripper
	lost *atomic.Int64

	mu     sync.Mutex // guards random
	random *rand.Rand
}

// lostPart is how many of the answers are lost, in percent.
const lostPart = 20

func (l *lossy) RoundTrip(request *http.Request) (*http.Response, error) {
	for {
		response, err := l.next.RoundTrip(request)
		// Nothing in runs/create tells a repetition from another run.
		if err != nil || strings.HasSuffix(request.URL.Path, "/runs/create") || !l.loses() {
			return response, err
		}
		l.lost.Add(1)
		_, err = io.Copy(io.Discard, response.Body)
		if err = errors.Join(err, response.Body.Close()); err != nil {
			return nil, err
		}
		if request.Body, err = request.GetBody(); err != nil {
			return nil, err
		}
	}
}

func (l *lossy) loses() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.random.IntN(100) < lostPart
}

// CloseIdleConnections is what http.Client looks for.
func (l *lossy) CloseIdleConnections() { l.next.(*http.Transport).CloseIdleConnections() }

// TestR15_RepeatedWritesAreThereOnce loses every fifth answer after the commit, and sends the request again.
func TestR15_RepeatedWritesAreThereOnce(t *testing.T) {
	t.Parallel()
	for name, uri := range map[string]string{"R15-sqlite": modelstest.EmptySQLite(t), "R15-postgresql": modelstest.PostgreSQL(t)} {
		t.Run(name, func(t *testing.T) {
			r, j := random(t), newJournal(t)
			s := startServer(t, uri)
			var lost atomic.Int64
			l := newLoad(t, s, j, "r", false)
			l.through = func(next http.RoundTripper) http.RoundTripper {
				return &lossy{next: next, lost: &lost, random: rand.New(rand.NewPCG(r.Uint64(), 0))}
			}
			l.startWriters(s, j, writers, r)
			l.waitFor(int64(size(500, 20_000)))
			l.end()
			checkRound(t, s, uri, j, "r")
			s.stop()
			sum := mustHold(t, "in the end", j.read(""), inDatabase(t, uri, ""))
			report(t, name, "writers", writers, "acknowledged", sum.acknowledged, "answers_lost", lost.Load(), "lost", sum.lost, "duplicated", sum.duplicated)
		})
	}
}
