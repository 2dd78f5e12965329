// Package reliability shows that an acknowledged write is never lost: its tests start the real binary, PostgreSQL and
// clients, break them, and compare what is held afterwards with a journal of what was attempted and acknowledged.
//
// Without -full the tests are short. docs/RELIABILITY.md says what each of them does and what it has shown.
package reliability
