// Package torture proves that nothing is ever lost. It has no code of its own: its tests build the real program once and drive
// it end to end, against a served bundle (package serve) as the platform and the sandbox's annotation API of both
// generations, with a faultproxy before each. What single rooms promise is tested in those rooms; here whole runs meet bad
// networks, SIGKILL and signals, damaged bundles, hostile servers, full disks and large numbers, and what is looked at is what
// a person would look at: exit code, report, bundle, target.
//
// One file for each line of docs/reliability.md, which says what is promised and which test proves it:
//
//	network_test.go        faults on every request, dead servers, Retry-After; storage_test.go where the images lie elsewhere
//	kill_test.go           SIGKILL at any instant; kill_work_test.go while annotations are replaced
//	signal_unix_test.go    SIGINT and SIGTERM; signal_commands_unix_test.go of the other commands
//	repair_test.go         fetch --repair
//	hostile_unix_test.go   hostile servers; hostile_hosts_unix_test.go that send us elsewhere; hostile_bundles_unix_test.go bundles
//	secrets_test.go        canaries for every secret
//	disk_linux_test.go     full, read-only and forbidden disks
//	scale_test.go          memory and time by the number of sequences (at length: make scale); memory_test.go how memory is looked at
//	goroutines_test.go     nothing outlives a run
//	stage_test.go          what they share: the platform, the target; process_test.go the program; outcome_test.go what must have come of it
//
// A normal test run does each of them a few times; with PYROBUNDLE_TORTURE=1 (make torture) they run hundreds of times.
package torture
