module github.com/evsourcing/evsourcing/faults

go 1.26

require (
	github.com/evsourcing/evsourcing v0.0.0
	github.com/google/uuid v1.6.0
	pgregory.net/rapid v1.3.0
)

replace github.com/evsourcing/evsourcing => ../
