package models

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
)

// secretBytes is enough for a key of HMAC-SHA256.
const secretBytes = 32

// Secret gives the random key of a name, of 32 bytes, that all replicas share. Who asks first makes it.
func (s *Store) Secret(ctx context.Context, name string) (key []byte, err error) {
	const read = "SELECT value FROM greenroom_secrets WHERE name = ?"
	var text string
	var found bool
	err = s.look(ctx, func(t *tx) error {
		text, found, err = pickOne[string](t, read, name)
		return err
	})
	if err == nil && !found {
		err = s.update(ctx, func(t *tx) error {
			t.changesNothing()
			fresh := make([]byte, secretBytes)
			rand.Read(fresh)
			// Another replica may be faster: what is in the database counts.
			_, err := t.exec("INSERT INTO greenroom_secrets (name, value, created_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", name, hex.EncodeToString(fresh), t.now)
			if err == nil {
				text, _, err = pickOne[string](t, read, name)
			}
			return err
		})
	}
	if err != nil {
		return nil, err
	}
	if key, err = hex.DecodeString(text); err != nil || len(key) != secretBytes {
		return nil, fmt.Errorf("the key %q in greenroom_secrets is not %d bytes in hex: delete the row, and a new one is made", name, secretBytes)
	}
	return key, nil
}
