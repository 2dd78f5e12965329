package artifacts_test

import (
	"testing"

	"greenroom/artifacts"
	"greenroom/artifacts/artifactstest"
)

// useS3 lets the AWS SDK find the credentials of a server.
func useS3(t testing.TB, server *artifactstest.S3Server) {
	t.Helper()
	setenv := t.(interface{ Setenv(name, value string) }).Setenv
	setenv("AWS_ACCESS_KEY_ID", server.AccessKey)
	setenv("AWS_SECRET_ACCESS_KEY", server.SecretKey)
	setenv("AWS_REGION", server.Region)
}

func openS3(t testing.TB, server *artifactstest.S3Server, o artifacts.S3Options) *artifacts.S3 {
	t.Helper()
	useS3(t, server)
	if o.URI == "" {
		o.URI = "s3://" + server.Bucket(t) + "/team/artifacts"
	}
	if o.Endpoint == "" {
		o.Endpoint = server.Endpoint
	}
	store, err := artifacts.OpenS3(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store
}

func TestS3(t *testing.T) {
	server := artifactstest.SharedS3(t)
	artifactstest.Run(t, func(t *testing.T) artifacts.Store { return openS3(t, server, artifacts.S3Options{}) })
}

func TestS3_TakesFilesInParts(t *testing.T) {
	server := artifactstest.SharedS3(t)
	artifactstest.RunMultiparter(t, func(t *testing.T) artifacts.Store { return openS3(t, server, artifacts.S3Options{}) })
}
