package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// apiPath is the prefix of MLflow's routes.
const apiPath = "/api/2.0/mlflow/"

// longestAnswer is after what time a server is given up.
const longestAnswer = 5 * time.Minute

// client is one kept-alive connection, used by one goroutine. It costs the machine less than http.Client, which hands
// every request to other goroutines: what the generator takes, the servers lack.
type client struct {
	host string
	conn net.Conn
	in   *bufio.Reader
	out  *bufio.Writer
}

func dial(ctx context.Context, base string) (*client, error) {
	host, err := hostOf(base)
	if err != nil {
		return nil, err
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", host)
	if err != nil {
		return nil, err
	}
	return &client{host, conn, bufio.NewReaderSize(conn, 1<<16), bufio.NewWriterSize(conn, 1<<16)}, nil
}

func (c *client) close() { c.conn.Close() }

// do sends a request, with a body if there is one, and returns status and body of the answer.
func (c *client) do(method, path string, body []byte) (status int, answer []byte, err error) {
	status, err = c.send(method, path, body, func(_ int, r io.Reader) (err error) {
		answer, err = io.ReadAll(r)
		return err
	})
	return status, answer, err
}

// send is do for an answer that read reads to its end.
func (c *client) send(method, path string, body []byte, read func(status int, body io.Reader) error) (int, error) {
	if err := c.conn.SetDeadline(time.Now().Add(longestAnswer)); err != nil {
		return 0, err
	}
	w := c.out
	fmt.Fprintf(w, "%s %s HTTP/1.1\r\nHost: %s\r\n", method, path, c.host)
	if body != nil {
		fmt.Fprint(w, "Content-Type: application/json\r\nContent-Length: ", len(body), "\r\n")
	}
	fmt.Fprint(w, "\r\n")
	w.Write(body) //nolint:errcheck // Flush tells
	if err := w.Flush(); err != nil {
		return 0, err
	}
	resp, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if err := read(resp.StatusCode, resp.Body); err != nil {
		return resp.StatusCode, err
	}
	if resp.Close {
		c.conn.Close()
		if c.conn, err = net.Dial("tcp", c.host); err == nil {
			c.in.Reset(c.conn)
			c.out.Reset(c.conn)
		}
	}
	return resp.StatusCode, err
}

// ok is do for a request of the API that must be answered with 200.
func (c *client) ok(method, path string, body []byte) ([]byte, error) {
	status, answer, err := c.do(method, apiPath+path, body)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("%d: %s", status, shortened(answer))
	}
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	return answer, nil
}

// post is ok for a POST that is answered with {}.
func (c *client) post(path string, body []byte) error {
	answer, err := c.ok("POST", path, body)
	if err == nil && strings.Join(strings.Fields(string(answer)), "") != "{}" {
		err = fmt.Errorf("POST %s: answered %s, want {}", path, shortened(answer))
	}
	return err
}

// call is ok with values on both sides; a nil request sends no body.
func (c *client) call(method, path string, request, response any) error {
	var body []byte
	if request != nil {
		var err error
		if body, err = json.Marshal(request); err != nil {
			return err
		}
	}
	answer, err := c.ok(method, path, body)
	if err != nil || response == nil {
		return err
	}
	if err := json.Unmarshal(answer, response); err != nil {
		return fmt.Errorf("%s %s: answered %s: %w", method, path, shortened(answer), err)
	}
	return nil
}

// with is path with a query; values are pairs of name and value.
func with(path string, values ...string) string {
	query := url.Values{}
	for i := 0; i < len(values); i += 2 {
		query.Add(values[i], values[i+1])
	}
	return path + "?" + query.Encode()
}

func shortened(answer []byte) string {
	const most = 300
	if len(answer) > most {
		return string(answer[:most]) + "… (" + strconv.Itoa(len(answer)) + " bytes)"
	}
	return string(answer)
}

// repeated checks the answers of a question that is asked many times: the first by check, the others by being the same, or
// by check when the time is no longer measured.
type repeated struct {
	first  []byte
	others [][]byte
	check  func(answer []byte) error
}

func (r *repeated) verify(answer []byte) error {
	if r.first == nil {
		r.first, r.others = answer, [][]byte{answer}
		return r.checkOthers()
	}
	if !bytes.Equal(r.first, answer) {
		r.others = append(r.others, answer)
	}
	return nil
}

func (r *repeated) checkOthers() error {
	for _, answer := range r.others {
		if err := r.check(answer); err != nil {
			return fmt.Errorf("%w in %s", err, shortened(answer))
		}
	}
	r.others = nil
	return nil
}
