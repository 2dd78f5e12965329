package mlflowapi

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"sync"

	"greenroom/models"
)

// auditLines writes audit entries, one JSON object a line. The database has them in any case: a line that cannot be
// written is logged and counted, and no request fails with it.
type auditLines struct {
	log    *slog.Logger
	failed func()

	mu   sync.Mutex
	w    io.Writer // nil for none
	torn bool      // the last line was cut off
}

func (l *auditLines) write(e models.AuditEntry) {
	if l.w == nil {
		return
	}
	err := func() error {
		var line bytes.Buffer
		enc := json.NewEncoder(&line)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(e); err != nil {
			return err
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		text := line.Bytes()
		if l.torn {
			text = append([]byte{'\n'}, text...)
		}
		n, err := l.w.Write(text) // one call: also lines of several processes do not mix
		l.torn = l.torn && n == 0 || n > 0 && text[n-1] != '\n'
		return err
	}()
	if err != nil {
		l.failed()
		l.log.Error("the audit log's file lacks an entry, which the database has", slog.String("id", e.ID), slog.Any("error", err))
	}
}
