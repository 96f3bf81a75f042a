package evsourcing_test

import "log/slog"

// quiet is a logger for tests that expect errors.
var quiet = slog.New(slog.DiscardHandler)
