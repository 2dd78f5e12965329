package mlflowapi_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"greenroom/mlflowapi"
)

// answered is a response without its body, which has been read.
type answered struct {
	StatusCode int
	Status     string
	Header     http.Header
}

// ask sends one request to the server, under the given Host unless it is "", and gives the answer and its body.
func ask(t testing.TB, s *artifactServer, method, path, host string, header http.Header) (answered, string) {
	t.Helper()
	var body io.Reader
	if method == http.MethodPost {
		body = strings.NewReader(`{"experiment_id":"0","key":"k","value":"v"}`)
	}
	req, err := http.NewRequest(method, s.URL+path, body)
	if err != nil {
		t.Fatal(err)
	}
	if host != "" {
		req.Host = host
	}
	req.Header.Set("Content-Type", "application/json")
	for name, values := range header {
		req.Header[name] = values
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answered{resp.StatusCode, resp.Status, resp.Header}, string(text)
}

const (
	readPath  = "/api/2.0/mlflow/experiments/get?experiment_id=0"
	writePath = "/api/2.0/mlflow/experiments/set-experiment-tag"
)

func TestSecurity_HostsAllowed(t *testing.T) {
	for name, test := range map[string]struct {
		security mlflowapi.Security
		allowed  string
		refused  string
	}{
		"by default, this machine and private addresses on every port": {
			allowed: "localhost localhost:1 LOCALHOST:5000 127.0.0.1:5000 [::1] [::1]:5000 0.0.0.0:5000 10.0.0.5 192.168.1.2:80 172.16.0.1 172.31.9.9 [fd00::1]:5000 [fc12::1] localhost.",
			refused: "evil.example evil.example:5000 10.evil.example 192.168.evil.example 127.0.0.1.evil.example localhost.evil.example 8.8.8.8 172.32.0.1 [2001:db8::1]",
		},
		"the address that the server listens on": {
			security: mlflowapi.Security{ListenHost: "GPU-box.lan"},
			allowed:  "gpu-box.lan gpu-box.lan:5000 localhost",
			refused:  "box.lan x.gpu-box.lan",
		},
		"a list replaces the default": {
			security: mlflowapi.Security{AllowedHosts: []string{"mlflow.Company.com", "10.0.0.100:5000", "app-*.internal.com", "[2001:db8::1]"}},
			allowed:  "mlflow.company.com mlflow.company.com:8443 10.0.0.100:5000 app-7.internal.com app-7.internal.com:5000 [2001:db8::1] [2001:db8::1]:5000",
			refused:  "localhost 10.0.0.100 10.0.0.100:80 company.com xmlflow.company.com app-7.internal.com.evil.example app-.internal.co",
		},
		"a star alone allows all": {security: mlflowapi.Security{AllowedHosts: []string{"*"}}, allowed: "evil.example localhost"},
		"checks switched off":     {security: mlflowapi.Security{Disabled: true}, allowed: "evil.example"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newArtifactServerWith(t, func(cfg *mlflowapi.Config) { cfg.Security = test.security })
			for _, host := range strings.Fields(test.allowed) {
				if resp, text := ask(t, s, http.MethodGet, readPath, host, nil); resp.StatusCode != http.StatusOK {
					t.Errorf("Host %s: %s %s", host, resp.Status, text)
				}
			}
			for _, host := range strings.Fields(test.refused) {
				resp, text := ask(t, s, http.MethodGet, readPath, host, nil)
				if resp.StatusCode != http.StatusForbidden || !strings.Contains(text, "PERMISSION_DENIED") ||
					!strings.Contains(text, "Invalid Host header - possible DNS rebinding attack detected") || !strings.Contains(text, "--allowed-hosts") {
					t.Errorf("Host %s: %s %s", host, resp.Status, text)
				}
				for _, probe := range []string{"/health", "/version", "/livez", "/readyz"} {
					if resp, _ := ask(t, s, http.MethodGet, probe, host, nil); resp.StatusCode != http.StatusOK {
						t.Errorf("Host %s: %s answers %s", host, probe, resp.Status)
					}
				}
				for _, closed := range []string{"/metrics", "/", "/health/../api/2.0/mlflow/experiments/get", "/get-artifact", "/healthy"} {
					if resp, _ := ask(t, s, http.MethodGet, closed, host, nil); resp.StatusCode != http.StatusForbidden {
						t.Errorf("Host %s: %s answers %s", host, closed, resp.Status)
					}
				}
			}
		})
	}
}

func TestSecurity_OriginsAllowed(t *testing.T) {
	for name, test := range map[string]struct {
		security mlflowapi.Security
		host     string
		allowed  string
		refused  string
	}{
		"by default, pages of this machine": {
			allowed: "http://localhost http://localhost:3000 https://localhost:3000 http://127.0.0.1:1 http://[::1]:8080",
			refused: "http://evil.example https://evil.example:5000 null http://localhost.evil.example file:// http://10.0.0.5 http://localhost@evil.example",
		},
		"the server's own pages": {
			host:    "10.0.0.5:5000",
			allowed: "http://10.0.0.5:5000 https://10.0.0.5:5000",
			refused: "http://10.0.0.5 http://10.0.0.5:5001 http://10.0.0.6:5000",
		},
		"a list adds to the default": {
			security: mlflowapi.Security{AllowedOrigins: []string{"https://app.company.com/", "https://*.notebooks.company.com"}},
			allowed:  "https://app.company.com https://APP.company.com https://a.notebooks.company.com http://localhost:1",
			refused:  "http://app.company.com https://app.company.com:444 https://app.company.com.evil.example https://notebooks.company.com",
		},
		"a star allows all": {security: mlflowapi.Security{AllowedOrigins: []string{"*"}}, allowed: "http://evil.example"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newArtifactServerWith(t, func(cfg *mlflowapi.Config) { cfg.Security = test.security })
			for _, origin := range strings.Fields(test.allowed) {
				resp, text := ask(t, s, http.MethodPost, writePath, test.host, http.Header{"Origin": {origin}})
				if resp.StatusCode != http.StatusOK {
					t.Errorf("Origin %s: %s %s", origin, resp.Status, text)
				}
				allow, credentials := resp.Header.Get("Access-Control-Allow-Origin"), resp.Header.Get("Access-Control-Allow-Credentials")
				if name == "a star allows all" {
					if allow != "*" || credentials != "" {
						t.Errorf("Origin %s: %s with credentials %q", origin, allow, credentials)
					}
				} else if allow != origin || credentials != "true" {
					t.Errorf("Origin %s: %q with credentials %q", origin, allow, credentials)
				}
			}
			for _, origin := range strings.Fields(test.refused) {
				header := http.Header{"Origin": {origin}, "Access-Control-Request-Method": {"POST"}}
				for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions, "FOO"} {
					for _, path := range []string{writePath, "/ajax-api" + strings.TrimPrefix(writePath, "/api"), "/API/x", "//api/x"} {
						resp, text := ask(t, s, method, path, test.host, header)
						if resp.StatusCode != http.StatusForbidden || !strings.Contains(text, "Cross-origin request blocked") || !strings.Contains(text, "--cors-allowed-origins") {
							t.Errorf("%s %s from %s: %s %s", method, path, origin, resp.Status, text)
						}
					}
				}
				resp, _ := ask(t, s, http.MethodGet, readPath, test.host, header)
				if resp.StatusCode != http.StatusOK || resp.Header.Get("Access-Control-Allow-Origin") != "" {
					t.Errorf("GET from %s: %s, allows %q", origin, resp.Status, resp.Header.Get("Access-Control-Allow-Origin"))
				}
			}
		})
	}
}

func TestSecurity_Preflight(t *testing.T) {
	s := newArtifactServer(t)
	resp, text := ask(t, s, http.MethodOptions, writePath, "", http.Header{
		"Origin": {"http://localhost:3000"}, "Access-Control-Request-Method": {"POST"}, "Access-Control-Request-Headers": {"content-type, authorization"},
	})
	h := resp.Header
	if resp.StatusCode != http.StatusNoContent || text != "" || h.Get("Access-Control-Allow-Origin") != "http://localhost:3000" ||
		h.Get("Access-Control-Allow-Headers") != "content-type, authorization" || !strings.Contains(h.Get("Access-Control-Allow-Methods"), "PATCH") {
		t.Errorf("%s %v %s", resp.Status, h, text)
	}
}

func TestSecurity_OptionsTellsTheMethods(t *testing.T) {
	s := newArtifactServer(t)
	resp, _ := ask(t, s, http.MethodOptions, writePath, "", nil)
	if resp.StatusCode != http.StatusNoContent || resp.Header.Get("Allow") != "POST, OPTIONS" {
		t.Errorf("%s, Allow %q", resp.Status, resp.Header.Get("Allow"))
	}
	if resp, _ := ask(t, s, http.MethodOptions, "/api/2.0/mlflow/nope", "", nil); resp.StatusCode != http.StatusNotFound {
		t.Errorf("an unknown path: %s", resp.Status)
	}
}

func TestSecurity_HeadersOfEveryAnswer(t *testing.T) {
	for option, want := range map[string]string{"": "SAMEORIGIN", "SAMEORIGIN": "SAMEORIGIN", "DENY": "DENY", "NONE": ""} {
		s := newArtifactServerWith(t, func(cfg *mlflowapi.Config) { cfg.Security.FrameOptions = option })
		for _, path := range []string{readPath, "/health", "/nope", "/metrics", writePath} {
			resp, _ := ask(t, s, http.MethodGet, path, "", nil)
			h := resp.Header
			if h.Get("X-Frame-Options") != want || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Vary") != "Origin" || h.Get("X-Request-Id") == "" || h.Get("Greenroom-Version") != "test" {
				t.Errorf("%q %s: %v", option, path, h)
			}
		}
	}
}
