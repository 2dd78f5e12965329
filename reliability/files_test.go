package reliability_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	artifactPath  = "/api/2.0/mlflow-artifacts/artifacts/"
	multipartPath = "/api/2.0/mlflow-artifacts/mpu/"
)

// files is the journal of artifacts.
type files struct {
	mu sync.Mutex
	// possible are the digests of the contents that a path may have, "" for no file.
	possible     map[string]map[string]bool
	attempts     []attempted
	acknowledged int
	// broken says that the disk fails in ways that a server has no name for: it may answer 500.
	broken bool
}

// attempted is a content that a path may have got.
type attempted struct{ path, digest string }

func newFiles() *files { return &files{possible: map[string]map[string]bool{}} }

func (f *files) attempt(path, digest string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.possible[path] == nil {
		f.possible[path] = map[string]bool{"": true}
	}
	f.possible[path][digest] = true
	f.attempts = append(f.attempts, attempted{path, digest})
}

// snapshot is the journal as it is now, with the attempts before.
func (f *files) snapshot() *files {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := &files{possible: map[string]map[string]bool{}, attempts: slices.Clone(f.attempts)}
	for path, digests := range f.possible {
		c.possible[path] = maps.Clone(digests)
	}
	return c
}

// attemptMore adds the attempts of a later journal.
func (f *files) attemptMore(later *files) {
	for _, a := range later.attempts[len(f.attempts):] {
		f.attempt(a.path, a.digest)
	}
}

func (f *files) acknowledge(path, digest string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.possible[path] = map[string]bool{digest: true}
	f.acknowledged++
}

// uploaders is how many upload at the same time.
const uploaders = 2

// uploads is a round of clients that upload, replace and delete files below a folder.
type uploads struct {
	t                     testing.TB
	stopping              atomic.Bool
	acknowledged, refused atomic.Int64
	done                  sync.WaitGroup
}

func (f *files) start(t testing.TB, url, scope string, seed uint64) *uploads {
	u := &uploads{t: t}
	for i := range uploaders {
		u.done.Go(func() {
			client := &http.Client{Transport: &http.Transport{}, Timeout: deadline}
			defer client.CloseIdleConnections()
			random := rand.New(rand.NewPCG(seed, uint64(i)))
			for !u.stopping.Load() {
				path := fmt.Sprintf("%s/w%d/%d.bin", scope, i, random.IntN(20))
				method, content, digest := http.MethodPut, make([]byte, 1+random.IntN(300_000)), ""
				if random.IntN(5) == 0 {
					method, content = http.MethodDelete, nil
				} else {
					rand.NewChaCha8([32]byte{byte(i), byte(random.Uint32()), byte(random.Uint32())}).Read(content) //nolint:errcheck // never fails
					digest = fmt.Sprintf("%x", sha256.Sum256(content))
				}
				f.attempt(path, digest)
				send := exchange
				if method == http.MethodPut && random.IntN(4) == 0 {
					send = exchangeParts
				}
				status, answer, err := send(client, method, url+artifactPath+path, content)
				switch {
				case err != nil:
					t.Errorf("%s %s: %v", method, path, err)
					return
				case status == http.StatusOK:
					f.acknowledge(path, digest)
					u.acknowledged.Add(1)
				case method == http.MethodDelete && status == http.StatusNotFound:
				case (status == http.StatusServiceUnavailable || status == http.StatusInsufficientStorage || status == http.StatusInternalServerError && f.broken) && isEnvelope(answer):
					u.refused.Add(1)
					time.Sleep(pace)
				default:
					t.Errorf("%s %s: %d %s", method, path, status, answer)
					return
				}
			}
		})
	}
	return u
}

func (u *uploads) end() {
	u.stopping.Store(true)
	u.done.Wait()
}

func (u *uploads) waitFor(more int64) {
	u.t.Helper()
	enough := u.acknowledged.Load() + more
	eventually(u.t, strconv.FormatInt(more, 10)+" changes of files are acknowledged", func() bool { return u.acknowledged.Load() >= enough })
}

// check looks at each file of a round, and from then on expects what is there.
func (f *files) check(t testing.TB, what, url, scope string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{}, Timeout: deadline}
	defer client.CloseIdleConnections()
	f.mu.Lock()
	defer f.mu.Unlock()
	for path, possible := range f.possible {
		if !strings.HasPrefix(path, scope+"/") {
			continue
		}
		status, content, err := exchange(client, http.MethodGet, url+artifactPath+path, nil)
		digest := ""
		if status == http.StatusOK {
			digest = fmt.Sprintf("%x", sha256.Sum256(content))
		}
		if err != nil || status != http.StatusOK && status != http.StatusNotFound || !possible[digest] {
			t.Errorf("%s: %s: %d, %d bytes, %v: none of the %d contents that it may have", what, path, status, len(content), err, len(possible))
		}
		f.possible[path] = map[string]bool{digest: true}
	}
}

// exchange sends one plain request.
func exchange(client *http.Client, method, url string, content []byte) (status int, answer []byte, err error) {
	request, err := http.NewRequest(method, url, bytes.NewReader(content))
	if err != nil {
		return 0, nil, err
	}
	if method == http.MethodPost {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	answer, err = io.ReadAll(response.Body)
	return response.StatusCode, answer, err
}

// exchangeParts uploads a file in three parts, and gives the first answer that is no success, or that of the completion.
func exchangeParts(client *http.Client, _, address string, content []byte) (status int, answer []byte, err error) {
	server, file, _ := strings.Cut(address, artifactPath)
	folder, name := path.Split(file)
	const parts = 3
	type part struct {
		Number int    `json:"part_number"`
		ETag   string `json:"etag"`
	}
	complete := struct {
		Path     string `json:"path"`
		UploadID string `json:"upload_id"`
		Parts    []part `json:"parts"`
	}{Path: name}
	var begun struct {
		UploadID    string                 `json:"upload_id"`
		Credentials []struct{ URL string } `json:"credentials"`
	}
	status, answer, err = exchange(client, http.MethodPost, server+multipartPath+"create/"+folder, fmt.Appendf(nil, `{"path":%q,"num_parts":%d}`, name, parts))
	if err == nil && status == http.StatusOK {
		err = json.Unmarshal(answer, &begun)
	}
	if err != nil || status != http.StatusOK {
		return status, answer, err
	}
	complete.UploadID = begun.UploadID
	for i, to := range begun.Credentials {
		request, err := http.NewRequest(http.MethodPut, to.URL, bytes.NewReader(content[len(content)*i/parts:len(content)*(i+1)/parts]))
		if err != nil {
			return 0, nil, err
		}
		response, err := client.Do(request)
		if err != nil {
			return 0, nil, err
		}
		answer, err = io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || response.StatusCode != http.StatusOK {
			return response.StatusCode, answer, err
		}
		complete.Parts = append(complete.Parts, part{i + 1, response.Header.Get("ETag")})
	}
	body, err := json.Marshal(complete)
	if err != nil {
		return 0, nil, err
	}
	return exchange(client, http.MethodPost, server+multipartPath+"complete/"+folder, body)
}

// isEnvelope tells whether an answer is MLflow's envelope of an error.
func isEnvelope(answer []byte) bool {
	var envelope struct {
		ErrorCode string `json:"error_code"`
		Message   string
	}
	return json.Unmarshal(answer, &envelope) == nil && envelope.ErrorCode != "" && envelope.Message != ""
}
