// Package panics keeps a panic to those whom it concerns: the process ends with one in a goroutine that nobody recovers.
package panics

import (
	"fmt"
	"runtime/debug"
)

// Caught calls fn and gives its error; if it panics, one that has the panic's value and stack.
func Caught(fn func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return fn()
}

// Result is Caught for what gives a value, too; of a panic the zero one.
func Result[T any](fn func() (T, error)) (value T, err error) {
	err = Caught(func() (err error) {
		value, err = fn()
		return err
	})
	return value, err
}
