package reliability_test

import (
	"net/http"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"greenroom/models/modelstest"
)

// TestR6_AFullDiskRefusesAndRecovers lets every write that needs room fail as on a full disk. Writes of data and files are
// refused, reads are answered, and once there is room the server takes writes again by itself.
func TestR6_AFullDiskRefusesAndRecovers(t *testing.T) {
	t.Parallel()
	r, j, program := random(t), newJournal(t), confine(t)
	uri := modelstest.EmptySQLite(t)
	s := newServer(t, uri)
	disk := s.startWatched(program, filepath.Dir(s.dir))
	f := newFiles()
	client := &http.Client{Timeout: deadline}
	defer client.CloseIdleConnections()
	c := newCaller(s.url)
	defer c.close()

	rounds := size(2, 50)
	var refused int64
	var slowest time.Duration
	var recovered durations
	for round := range rounds {
		scope := "r" + strconv.Itoa(round)
		l := startLoad(t, s, j, scope, writers/2, r, true)
		u := f.start(t, s.url, scope, r.Uint64())
		l.waitFor(writers)
		u.waitFor(2)
		disk.fail(syscall.ENOSPC, func(_ int, call change) bool {
			return call.name == "write" || call.name == "pwrite" || call.name == "mkdirat" || call.name == "fallocate"
		})
		eventually(t, "writers and uploads are refused", func() bool { return l.refused.Load() >= writers && u.refused.Load() >= 4 })

		begin := time.Now()
		status, text, err := c.call("POST", "experiments/create", map[string]any{"name": scope + "-refused"}, nil)
		slowest = max(slowest, time.Since(begin))
		if err != nil || status != http.StatusServiceUnavailable || !isEnvelope([]byte(text)) {
			t.Errorf("experiments/create: %d %s %v, want 503", status, text, err)
		}
		begin = time.Now()
		path := scope + "/refused.bin"
		f.attempt(path, "refused")
		status, answer, err := exchange(client, http.MethodPut, s.url+artifactPath+path, make([]byte, 1<<20))
		slowest = max(slowest, time.Since(begin))
		if err != nil || status != http.StatusInsufficientStorage && status != http.StatusServiceUnavailable || !isEnvelope(answer) {
			t.Errorf("PUT %s: %d %s %v, want 507 or 503", path, status, answer, err)
		}
		c.must(t, "GET", "experiments/get-by-name?experiment_name="+scope, nil, nil)

		disk.heal()
		begin = time.Now()
		l.waitFor(1)
		u.waitFor(1)
		recovered = append(recovered, time.Since(begin))
		l.waitFor(writers)
		u.end()
		l.end()
		refused += l.refused.Load() + u.refused.Load()
		checkRound(t, s, uri, j, scope)
		f.check(t, scope, s.url, scope)
		if t.Failed() {
			t.FailNow()
		}
	}
	s.stop()
	wantWithin(t, 5*time.Second, "a recovery", recovered.worst())
	checkFile(t, uri)
	sum := mustHold(t, "in the end", j.read(""), inDatabase(t, uri, ""))
	report(t, "R6", "full", rounds, "acknowledged", sum.acknowledged, "refused", refused, "lost", sum.lost,
		"slowest_refusal", slowest, "recovery_median", recovered.median(), "recovery_max", recovered.worst())
}
