package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// SQLSTATEs, of PostgreSQL and of the store's own functions.
const (
	classConstraint  = "23"
	codeUnique       = "23505"
	codeSerial       = "40001"
	codeDeadlock     = "40P01"
	codeNoStatement  = "26000"
	codeDupStatement = "42P05"
	codeAborted      = "25P02"
	codeCanceled     = "57014"
	codeDenied       = "42501"
	codeNotStored    = "ES001"
	codeFenced       = "ES002"
)

// An outcome is what is known after a statement, or a transaction, has failed.
type outcome int

const (
	refused       outcome = iota // the server said no: nothing was stored
	refusedUnique                // likewise, because something is stored already
	again                        // nothing was stored, and the next attempt may succeed
	unsent                       // it did not reach the server
	unknown                      // it may have been stored
)

func outcomeOf(err error) outcome {
	var connect *pgconn.ConnectError
	if errors.As(err, &connect) || errors.Is(err, errAcquire) || pgconn.SafeToRetry(err) {
		return unsent
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		switch {
		case pg.Severity != "ERROR" && pg.SeverityUnlocalized != "ERROR":
			return unknown // the session ended, perhaps after the commit
		case pg.Code == codeUnique:
			return refusedUnique
		case pg.Code == codeSerial || pg.Code == codeDeadlock:
			return again
		case isProxyError(pg):
			return unknown
		}
		return refused
	}
	return unknown
}

// isProxyError reports whether an error is one that PgBouncer makes up when it has
// lost the server: what came of the statement is not known.
func isProxyError(pg *pgconn.PgError) bool {
	return strings.HasPrefix(pg.Code, "08") || strings.HasPrefix(pg.Code, "57P")
}

// isBroken reports whether a statement failed because its connection broke.
func isBroken(err error) bool {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.Severity == "FATAL" || pg.SeverityUnlocalized == "FATAL" || isProxyError(pg)
	}
	_, ofNetwork := errors.AsType[net.Error](err)
	return ofNetwork || pgconn.SafeToRetry(err) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// errAcquire marks failures to get a connection, before anything was sent.
var errAcquire = errors.New("no connection")

func acquireError(err error) error { return fmt.Errorf("%w: %w", errAcquire, err) }

// codeOf returns the SQLSTATE of an error of the server.
func codeOf(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code
	}
	return ""
}

// remedy adds to an error what can be done about it.
func remedy(err error) error {
	switch codeOf(err) {
	case codeNoStatement, codeDupStatement:
		return fmt.Errorf("a proxy between here and the server does not keep prepared statements: "+
			"add default_query_exec_mode=cache_describe to the connection string: %w", err)
	case codeDenied:
		return fmt.Errorf("the role lacks a right, see AppGrants and ReadGrants: %w", err)
	case "42P01", "42883", "3F000":
		return fmt.Errorf("the store's schema is not there or damaged, see Schema: %w", err)
	}
	return err
}

// contextError returns the context's error instead of what the driver made of it.
func contextError(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}
