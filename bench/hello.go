package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"

	"github.com/gin-gonic/gin"
)

// helloCommand makes this program a server that does nothing: gin's own ceiling.
const helloCommand = "hello"

const helloAnswer = `{"message":"hello"}`

func serveHello(address string) error {
	gin.SetMode(gin.ReleaseMode)
	r := gin.New()
	r.GET("/*path", func(c *gin.Context) { c.JSON(http.StatusOK, map[string]string{"message": "hello"}) })
	return (&http.Server{Addr: address, Handler: r}).ListenAndServe()
}

// hello measures a server in a process of its own, as the others are.
func (b *bare) hello(ctx context.Context, workers int) (round, error) {
	if b.helloServer == nil {
		program, err := os.Executable()
		if err != nil {
			return nil, err
		}
		gin := &product{name: helloCommand, program: program, arguments: func(_ storage, port int) []string {
			return []string{helloCommand, fmt.Sprintf("127.0.0.1:%d", port)}
		}}
		if b.helloServer, err = b.env.start(ctx, gin, b.engine); err != nil {
			return nil, err
		}
	}
	return func(ctx context.Context) ([]float64, error) {
		l, err := drive(ctx, b.helloServer, workers, b.env.window, func(c *client, _, _ int) error {
			answer, err := c.ok("GET", "registered-models/alias?name=model&alias=champion", nil)
			if err == nil && !bytes.Equal(answer, []byte(helloAnswer)) {
				err = fmt.Errorf("answered %s", answer)
			}
			return err
		})
		return []float64{l.perSecond()}, err
	}, nil
}
