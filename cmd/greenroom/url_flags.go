package main

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"greenroom/mlflowapi"
)

// urlFlags say by which URLs clients transfer big files.
type urlFlags struct {
	presignedURLs string
	publicURL     string
	// downloadURLTime has a variable of MLflow, and no flag; 0 for the default.
	downloadURLTime time.Duration
}

func (f *urlFlags) define(set *pflag.FlagSet) {
	set.StringVar(&f.presignedURLs, "presigned-urls", mlflowapi.PresignedAuto, "URLs for parallel transfers of big files: auto (of the object store, or else of this server), server (of this server, for clients that can't reach the object store) or off (files are streamed in one piece)")
	set.StringVar(&f.publicURL, "public-url", "", "address that clients have as MLFLOW_TRACKING_URI, for the server's own URLs (default what each request tells; behind a proxy that is not one of --trusted-proxies, there are no such URLs without it)")
}

func urlVariables() map[string]string {
	return map[string]string{"presigned-urls": "GREENROOM_PRESIGNED_URLS", "public-url": "GREENROOM_PUBLIC_URL"}
}

// readEnvironment takes MLflow's variable for how long the URL of a download is good.
func (f *urlFlags) readEnvironment(getenv func(string) string) error {
	const variable, longest = "MLFLOW_PRESIGNED_DOWNLOAD_URL_TTL_SECONDS", 7 * 24 * 60 * 60
	value := getenv(variable)
	if value == "" {
		return nil
	}
	seconds, err := strconv.Atoi(value)
	if err != nil || seconds < 1 || seconds > longest {
		return usageError{fmt.Errorf("environment variable %s: %q is no number of seconds from 1 to %d", variable, value, longest)}
	}
	f.downloadURLTime = time.Duration(seconds) * time.Second
	return nil
}

func (f *urlFlags) check() error {
	switch f.presignedURLs = strings.ToLower(f.presignedURLs); f.presignedURLs {
	case mlflowapi.PresignedAuto, mlflowapi.PresignedServer, mlflowapi.PresignedOff:
	default:
		return fmt.Errorf("--presigned-urls %q: write auto, server or off", f.presignedURLs)
	}
	if f.publicURL == "" {
		return nil
	}
	f.publicURL = strings.TrimRight(f.publicURL, "/")
	u, err := url.Parse(f.publicURL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.ContainsAny(f.publicURL, "?#") {
		return fmt.Errorf("--public-url: write it like https://mlflow.example.com, or https://example.com/mlflow with a path, as clients have it in MLFLOW_TRACKING_URI, and without a user")
	}
	return nil
}
