# shellcheck shell=sh
# shellcheck disable=SC2034  # much is set for the script that sources this
# bench/lib.sh: what the scripts of this folder share. A script
#
#	. "$(dirname "$0")/lib.sh"          and with it figures.sh: medians, tables, JSON
#	parse "$@"                          its own; what it does not know goes to common_option
#	bench_begin NAME LIMIT_S "$@"       checks, folder of results, CPUs, an end for everything
#	server_start weir -w 1 echo         a server by name; $server_pid, $server_listener
#	load -c 50 -d 1s                    weirload at it; $load_verdict, load_get KEY
#	record weir 64/50 1                 into $rows (a table) and the JSON
#	server_stop                         or server_keep weir, later server_use weir: several at once
#	bench_finish                        $out/results.json
#
# A function whose body is in ( ) keeps its variables to itself; what others leave behind is named
# above or begins with the name of what it is about.
#
# The usage text of a script is the comment at its head. Everything that was started here ends
# with the script, however that ends. Exit status: 0 fine, 1 could not run, 2 wrong usage, 3 (where
# bench_expect_figures is asked) a table without a figure.

LC_ALL=C
export LC_ALL
bench_folder=$(dirname "$0")
# shellcheck source=bench/figures.sh
. "$bench_folder/figures.sh"
# shellcheck source=bench/ready.sh
. "$bench_folder/ready.sh"
root=$(dirname "$bench_folder")
BUILD=${BUILD:-${root#./}/build}
BUILD=${BUILD#./}
quick=${BENCH_QUICK:-}
out='' pin=yes plot_copy='' load_options='' ready_port='' together=''
# Where servers listen. On 0.0.0.0 weirload connects to as many addresses of 127/8 as it needs.
server_host=127.0.0.1
designs='iterative fork spawn pass accept-many thread select poll floor'
connectionless='iterative-udp fork-udp'
connectionless_points='64/1 64/50 64/50x16'
peers='libevent libuv node go io_uring'
churn_connections=50
tab=$(printf '\t')

# ---- usage ----

usage() {
	sed -n '1d; /^#/!q; s/^# \{0,1\}//p' "$0"
}

die() {
	echo "${0##*/}: $*" >&2
	exit 1
}

die_usage() {
	echo "${0##*/}: $* (-h says what there is)" >&2
	exit 2
}

# need TOOL PACKAGE: without it the script cannot run.
need() {
	command -v "$1" >/dev/null 2>&1 || die "needs $1 (Debian: apt-get install $2)"
}

# value OPTION VALUE...: the value of an option has to be there.
value() {
	[ $# -ge 2 ] || die_usage "$1 needs a value"
}

# whole OPTION VALUE: a whole number above 0.
whole() {
	value "$@"
	case $2 in
	'' | *[!0-9]* | 0*) die_usage "$1 $2: not a whole number above 0" ;;
	esac
}

# seconds OPTION VALUE: as 2 or 0.5.
seconds() {
	value "$@"
	case $2 in
	*[!0-9.]* | *.*.* | . | '') die_usage "$1 $2: not a number of seconds" ;;
	*[1-9]*) ;;
	*) die_usage "$1 $2: not above 0" ;;
	esac
}

# One option that all scripts have; $used words of the command line are done with.
common_option() {
	used=1
	case $1 in
	-h | --help)
		usage
		exit 0
		;;
	-q) quick=1 ;;
	--no-pin) pin=no ;;
	-o)
		value "$@"
		out=$2 used=2
		;;
	-p)
		value "$@"
		plot_copy=$2 used=2
		;;
	-*) die_usage "unknown option $1" ;;
	*) die_usage "unknown argument $1" ;;
	esac
}

# ---- this machine ----

# The hard limit of descriptors of a process.
descriptors_max() {
	awk '/^Max open files/ { print $5 }' /proc/self/limits
}

sysctl_value() {
	sed 's/\t/ /g' "/proc/sys/$(echo "$1" | tr . /)" 2>/dev/null
}

# Ticks that the hypervisor took from this machine, and all ticks, since it started.
cpu_ticks() {
	awk '$1 == "cpu" { all = 0; for (i = 2; i <= 9; i++) all += $i; print $9, all }' /proc/stat
}

environment_json() (
	governor=/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor
	commit=$(git -C "$bench_folder" rev-parse --short=12 HEAD 2>/dev/null)
	[ -z "$commit" ] || git -C "$bench_folder" diff --quiet HEAD 2>/dev/null || commit="$commit, changed"
	compiler=$(cut -d ' ' -f 1 "$BUILD/flags" 2>/dev/null)
	printf '{\n'
	while IFS='=' read -r key text; do
		printf '    "%s": %s,\n' "$key" "$(json_text "$text")"
	done <<-END
		date=$(date -u +%Y-%m-%dT%H:%M:%SZ)
		kernel=$(uname -sr)
		machine=$(uname -m)
		cpu=$(sed -n 's/^model name[[:space:]]*: //p' /proc/cpuinfo | head -n 1)
		cpus=$(getconf _NPROCESSORS_ONLN)
		governor=$(cat $governor 2>/dev/null || echo 'not said')
		memory_available=$(sed -n 's/^MemAvailable: *//p' /proc/meminfo)
		load_average=$(cut -d ' ' -f 1-3 /proc/loadavg)
		descriptors=$(descriptors_max)
		net.core.somaxconn=$(sysctl_value net.core.somaxconn)
		net.ipv4.tcp_mem=$(sysctl_value net.ipv4.tcp_mem)
		net.ipv4.ip_local_port_range=$(sysctl_value net.ipv4.ip_local_port_range)
		net.ipv4.tcp_tw_reuse=$(sysctl_value net.ipv4.tcp_tw_reuse)
		net.ipv4.tcp_congestion_control=$(sysctl_value net.ipv4.tcp_congestion_control)
		net.ipv4.tcp_max_tw_buckets=$(sysctl_value net.ipv4.tcp_max_tw_buckets)
		weir=$("$BUILD/weir" -V 2>/dev/null)
		commit=${commit:-not known}
		compiler=$("${compiler:-false}" --version 2>/dev/null | head -n 1)
		flags=$(cat "$BUILD/flags" 2>/dev/null)
		pinned=$pin_text
	END
	printf '    "script": %s\n  }' "$(json_text "${0##*/}")"
)

# ---- begin and end ----

# The CPUs that this may run on, one a line.
cpus_allowed() {
	sed -n 's/^Cpus_allowed_list:[[:space:]]*//p' /proc/self/status | tr ',' '\n' |
		awk -F - '{ for (i = $1; i <= ($2 == "" ? $1 : $2); i++) print i }'
}

# The server gets the first CPU, weirload another: one of another core where there is one.
pin_choose() {
	pin_server='' pin_load='' pin_text='not pinned: the scheduler places server and weirload'
	[ "$pin" = yes ] || return 0
	command -v taskset >/dev/null 2>&1 || {
		pin_text='not pinned: needs taskset (Debian: util-linux)'
		return 0
	}
	first=$(cpus_allowed | head -n 1)
	siblings=$(cat "/sys/devices/system/cpu/cpu$first/topology/thread_siblings_list" 2>/dev/null)
	other=$(cpus_allowed | awk -v first="$first" -v siblings="$siblings" '
		BEGIN {
			n = split(siblings, part, ",")
			for (i = 1; i <= n; i++) {
				m = split(part[i], end, "-")
				for (cpu = end[1]; cpu <= end[m]; cpu++) near[cpu] = 1
			}
		}
		$1 != first && !any { any = $1 }
		$1 != first && !($1 in near) { print $1; found = 1; exit }
		END { if (!found && NR > 1) print any }')
	if [ -n "$other" ]; then
		pin_server="taskset -c $first" pin_load="taskset -c $other"
		pin_text="server on CPU $first, weirload on CPU $other"
	else
		pin_text='not pinned: there is one CPU'
	fi
}

build_check() {
	for program in weir weirload; do
		[ -x "$BUILD/$program" ] || die "there is no $BUILD/$program (make builds it; BUILD= names another folder)"
	done
}

# Limits are there to end what hangs. Where much else runs, BENCH_PATIENCE=N makes all N times as long.
BENCH_PATIENCE=${BENCH_PATIENCE:-1}
ready_limit=$((20 * BENCH_PATIENCE))

# bench_begin NAME LIMIT_S ARGUMENT...: the script runs no longer than that.
#
# Linux shares out CPUs to sessions, and what a session gets to its processes (sched(7), autogroup).
# Server and load have one each, so that neither takes the other's share by having more processes.
# With together=yes they are in one, with the script: processes of two sessions interrupt each other
# wherever one wakes one of the other's, and with a hundred of each there is little else to see.
# In either case each is a process group, so that it can be ended whole, and none is the terminal's:
# Ctrl-C meets the script alone.
bench_begin() {
	bench_name=$1 bench_limit=$(($2 * BENCH_PATIENCE))
	shift 2
	need timeout coreutils
	need setsid util-linux
	# Dies with whoever started it, even where that is killed.
	follows='setpriv --pdeathsig TERM'
	$follows true 2>/dev/null || follows=''
	if [ -z "$BENCH_BOUND" ]; then
		BENCH_BOUND=$bench_limit exec timeout --foreground -k 20 "$bench_limit" \
			${together:+setsid $follows} sh "$0" "$@"
	fi
	unset BENCH_BOUND
	build_check
	scratch=$(mktemp -d) || die "cannot make a temporary folder"
	server_pid='' load_pid='' helper_pid='' kept=''
	trap bench_end EXIT
	trap 'exit 130' INT
	trap 'echo "${0##*/}: ended from outside, or over its limit of $bench_limit s" >&2; exit 143' TERM HUP
	out=${out:-$BUILD/bench/$bench_name-$(date +%Y%m%d-%H%M%S)}
	mkdir -p "$out" || die "cannot make the folder $out"
	rows=$out/rows.tsv
	rm -f "$out/table.txt"
	printf 'server\tpoint\tround\tverdict\tlimit\tmessages_per_s\tcpu_us\tp50_us\tp99_us\tconnects_per_s\tcpu_us_connection\tuser_bytes\tkernel_bytes\tuser_base\theld\tloss_percent\n' >"$rows"
	: >"$scratch/points"
	apart="setsid $follows"
	[ -z "$together" ] || apart="$follows timeout 0" # which makes a process group, and no session
	pin_choose
	environment_json >"$scratch/environment"
	ticks_before=$(cpu_ticks)
	bench_arguments=$*
	echo "$(uname -sr), $(getconf _NPROCESSORS_ONLN) CPUs; $pin_text; results in $out" | show
	busy=$(awk -v cpus="$(getconf _NPROCESSORS_ONLN)" '$1 > cpus / 4 { print $1 }' /proc/loadavg)
	[ -z "$busy" ] || echo "Load average $busy at the start: other work on this machine widens every spread." | show
	echo | show
}

# Text for people: to stdout and into table.txt.
show() {
	tee -a "$out/table.txt"
}

# progress TEXT: on a terminal only.
progress() {
	[ ! -t 2 ] || printf '\r%s: %-60s' "$bench_name" "$*" >&2
}

progress_end() {
	[ ! -t 2 ] || printf '\r%80s\r' '' >&2
}

# bench_finish [TABLE]: writes results.json; TABLE is a file whose first row names its columns.
bench_finish() (
	# shellcheck disable=SC2046,SC2086  # two words each
	set -- "${1:-}" $ticks_before $(cpu_ticks)
	steal=$(awk "BEGIN { d = $5 - $3; print (d > 0 ? 100 * ($4 - $2) / d : 0) }")
	{
		printf '{\n  "script": %s,\n  "arguments": %s,\n  "cpu_stolen_percent": %.2f,\n' \
			"$(json_text "$bench_name")" "$(json_text "$bench_arguments")" "$steal"
		printf '  "environment": '
		cat "$scratch/environment"
		[ -z "$1" ] || { printf ',\n  "table": ' && json_rows <"$1"; }
		printf ',\n  "points": ['
		cat "$scratch/points"
		printf '\n  ]\n}\n'
	} >"$out/results.json"
	# Another guest of the same host took time in the middle of it.
	awk "BEGIN { exit !($steal >= 1) }" &&
		printf 'The hypervisor took %.1f %% of the CPU time meanwhile.\n' "$steal" | show
	return 0
)

# bench_expect_figures COLUMN: ends with 3 where no run of a table was fine. Each value in that
# column of $rows is a table of its own; 0: all of them are one table.
bench_expect_figures() {
	awk -F '\t' -v by="$1" '
		NR == 1 { next }
		{ table = by ? $by : "all"; seen[table]; if ($4 == "fine") fine[table] }
		END { bad = NR < 2; for (table in seen) if (!(table in fine)) bad = 1; exit bad }
	' "$rows" && return 0
	echo "${0##*/}: a table has no run that was fine, and so no figure: status 3" >&2
	exit 3
}

bench_end() {
	status=$?
	trap - EXIT
	trap '' INT TERM HUP
	[ -z "$load_pid" ] || load_end
	[ -z "$helper_pid" ] || kill "$helper_pid" 2>/dev/null
	[ -z "$server_pid" ] || server_stop
	for pid in $kept; do
		server_pid=$pid
		server_stop
	done
	rm -rf "$scratch"
	exit $status
}

# ---- servers ----

# A name is weir, one of bench/designs or bench/peers, or a path; weir (and a path to one) may
# carry options: weir:--accept=shared,--spin=50us. A name that ends with -udp serves datagrams:
# weir-udp is weir.
server_program() {
	case ${1%%:*} in
	weir | weir-udp) echo "$BUILD/weir" ;;
	*/*) echo "${1%%:*}" ;;
	*)
		for folder in designs peers; do
			[ ! -x "$BUILD/$folder/$1" ] || echo "$BUILD/$folder/$1"
		done
		;;
	esac
}

# Is it weir, of whatever build? That always says how many workers.
server_is_weir() (
	name=${1%%:*}
	case ${name##*/} in weir | weir-*) exit 0 ;; esac
	exit 1
)

# Does it serve datagrams?
server_is_udp() {
	case ${1%%:*} in *-udp) ;; *) return 1 ;; esac
}

# Those of the names that are built; of the rest, say so with what would build them.
servers_built() (
	for name; do
		[ ! -x "$(server_program "$name")" ] || printf '%s ' "$name"
	done
)

servers_missing() (
	missing=''
	for name; do
		[ -x "$(server_program "$name")" ] || missing="$missing $name"
	done
	[ -z "$missing" ] || echo "Not built, so not here:$missing (make designs peers says what they need)" | show
)

# server_check NAME...: each is there. Before bench_begin: there is no folder of results yet.
server_check() {
	build_check
	for checked; do
		[ ! -x "$(server_program "$checked")" ] || continue
		case " $designs $connectionless $peers " in
		*" $checked "*) die "$checked is not built in $BUILD (make designs peers says what it needs)" ;;
		esac
		die_usage "no server $checked: weir, a path, weir-udp, or one of $designs $connectionless $peers"
	done
}

alive() {
	case $(sed 's/.*) \(.\).*/\1/' "/proc/$1/stat" 2>/dev/null) in '' | Z | X) return 1 ;; esac
}

now_ms() {
	date +%s%3N
}

# server_start NAME [-w WORKERS] [PROTOCOL]; 1 and $server_why where it does not become ready.
server_start() {
	server_name=$1 server_workers=''
	shift
	[ "$1" != -w ] || { server_workers=$2 && shift 2; }
	! server_is_weir "$server_name" || server_workers=${server_workers:-1}
	server_scheme=${1:-echo} server_kind=tcp server_port=$(ready_port_of "$server_name")
	! server_is_udp "$server_name" || { server_scheme=$server_scheme+udp && server_kind=udp; }
	server_log=$scratch/server.log server_listener='' server_why=''
	! ready_port_is_taken || return 1
	case $server_name in *:*) options=$(echo "${server_name#*:}" | tr ',' ' ') ;; *) options='' ;; esac
	: >"$server_log"
	# shellcheck disable=SC2086  # prefixes and options are lists of words
	$apart $pin_server "$(server_program "$server_name")" ${server_workers:+-w $server_workers} $options \
		"$server_scheme://$server_host:${server_port:-0}" </dev/null >/dev/null 2>"$server_log" &
	server_pid=$!
	until=$(($(now_ms) + ready_limit * 1000))
	until server_is_ready; do
		alive "$server_pid" || break
		[ "$(now_ms)" -lt $until ] || break
		sleep 0.01
	done
	[ -z "$server_listener" ] || return 0
	server_why=$(unready_why)
	server_stop
	return 1
}

# workers_each NAME N: designs whose workers serve one connection each need N of them; more than
# 10,000 they do not take.
workers_each() {
	case $1 in accept-many | pass) echo "-w $(($2 < 10000 ? $2 : 10000))" ;; esac
}

# Ends it and all its processes; they are gone when this returns.
server_stop() {
	kill -s TERM "$server_pid" 2>/dev/null
	until=$(($(now_ms) + 15000 * BENCH_PATIENCE))
	while alive "$server_pid" && [ "$(now_ms)" -lt $until ]; do
		sleep 0.01
	done
	kill -s KILL -- "-$server_pid" 2>/dev/null
	wait "$server_pid" 2>/dev/null
	while kill -s 0 -- "-$server_pid" 2>/dev/null && [ "$(now_ms)" -lt $until ]; do
		sleep 0.01
	done
	server_pid=''
}

# server_keep LABEL: the one that was started stays up, while others are started.
server_keep() {
	printf '%s\t%s\t%s\t%s\n' "$1" "$server_pid" "$server_name" "$server_listener" >>"$scratch/kept"
	kept="$kept $server_pid" server_pid=''
}

# server_use LABEL: what is loaded now is that one.
server_use() {
	server_line=$(awk -F '\t' -v label="$1" '$1 == label { print $2 " " $3 " " $4 }' "$scratch/kept")
	server_listener=${server_line##* } server_pid=${server_line%% *}
	server_name=${server_line#* } server_name=${server_name% *}
}

# The pids of a process and all that descend from it.
process_tree() {
	ps -e -o pid= -o ppid= | awk -v root="$1" '
		{ parent[$1] = $2 }
		END {
			for (pid in parent) {
				for (up = pid; up != root && up in parent && up > 1; up = parent[up])
					;
				if (up == root) print pid
			}
		}' | sort -n
}

# server_worker_pids: the processes that serve: weir's workers, a design's; or the server itself.
server_worker_pids() {
	if server_is_weir "$server_name"; then
		ps -e -o pid= -o ppid= -o comm= | awk -v root="$server_pid" '$2 == root && $3 ~ /^weir-w[0-9]/ { print $1 }'
	else
		ps -e -o pid= -o ppid= | awk -v root="$server_pid" '$2 == root { print $1; n++ } END { if (!n) print root }'
	fi | sort -n
}

# cpu_ns PID...: the CPU time of each, all its threads, in ns, one a line.
cpu_ns() (
	for pid; do
		cat "/proc/$pid/task/"*/schedstat 2>/dev/null | awk '{ ns += $1 } END { printf "%.0f\n", ns }'
	done
)

# ---- load ----

# load ARGUMENT...: one run of weirload at the server. Never fails: $load_status, and
# $load_verdict, which is "fine" or what came instead of a figure.
load() {
	load_begin "$@"
	load_wait
}

# load_limit=SECONDS bounds the run.
load_begin() {
	load_json=$scratch/load.json load_ends=$((${load_limit:-60} * BENCH_PATIENCE))
	rm -f "$load_json"
	# shellcheck disable=SC2086
	$apart timeout -k 5 "$load_ends" $pin_load "$BUILD/weirload" --json "$load_json" \
		--server-pid "$server_pid" "$@" "$server_listener" </dev/null >"$scratch/load.log" 2>&1 &
	load_pid=$!
}

load_wait() {
	wait "$load_pid"
	load_status=$?
	load_pid=''
	case $load_status in
	0) load_verdict=fine ;;
	1) load_verdict=$(load_errors) ;;
	# Of a --server-pid that is gone by then it says so; so do the lines below.
	2) ! alive "$server_pid" || die "weirload did not take its options: $(head -n 2 "$scratch/load.log")" ;;
	3) load_verdict="INVALID: $(load_get invalid_why | cut -d : -f 1)" ;; # the JSON has all of it
	124 | 137) load_verdict="no end in $load_ends s" ;;
	*) load_verdict="weirload ended with status $load_status" ;;
	esac
	alive "$server_pid" || load_verdict='the server died'
}

load_end() {
	kill -s TERM "$load_pid" 2>/dev/null
	wait "$load_pid" 2>/dev/null
	load_pid=''
}

load_get() {
	json_get "$load_json" "$1"
}

# "ERRORS: 12 refused, 3 lost", from errors_KIND; where weirload wrote none, its last words.
load_errors() (
	kinds=$(sed -n 's/^[[:space:]]*"errors_\([a-z]*\)":[[:space:]]*\([1-9][0-9]*\),\{0,1\}$/\2 \1/p' \
		"$load_json" 2>/dev/null | paste -s -d , - | sed 's/,/, /g')
	echo "ERRORS: ${kinds:-$(tail -n 1 "$scratch/load.log" | cut -c 1-80)}"
)

# weirload processes that can hold so many connections.
load_processes() (
	each=$(($(descriptors_max) - 100))
	echo $((($1 + each - 1) / each))
)

# load_point POINT SECONDS: POINT is SIZE/CONNECTIONS, SIZE/CONNECTIONSxDEPTH (so many under way on
# each) or churn; $load_options go to weirload too.
load_point() {
	warmup=$(awk "BEGIN { w = $2 / 5; print (w < 0.1 ? 0.1 : w > 0.5 ? 0.5 : w) }")
	case $1 in
	churn) load --churn -c $churn_connections -s 64 -d "$(duration "$2")" --warmup "$(duration "$warmup")" ;;
	*)
		point_n=${1#*/} point_depth=1
		case $point_n in *x*) point_depth=${point_n#*x} point_n=${point_n%x*} ;; esac
		# shellcheck disable=SC2086  # words
		load $load_options -c "$point_n" -p "$point_depth" -s "${1%/*}" -P "$(load_processes "$point_n")" \
			-d "$(duration "$2")" --warmup "$(duration "$warmup")"
		;;
	esac
}

# turned ROUND NAMES: them, beginning with the one whose turn it is in this round.
turned() {
	echo "$2" | awk -v round="$1" '{ for (i = 0; i < NF; i++) printf "%s ", $((i + round - 1) % NF + 1) }'
}

# duration SECONDS: as weirload takes times, a whole number with a unit.
duration() {
	awk "BEGIN { printf \"%.0fms\", $1 * 1000 }"
}

# figure KEY: of a run that was fine; "-" where there is none.
figure() (
	found=''
	[ "$load_verdict" != fine ] || found=$(load_get "$1")
	printf '%s' "${found:--}"
)

# Memory is that of the connections that were held, whatever became of others.
memory_figure() (
	found=$(load_get "$1")
	printf '%s' "${found:--}"
)

# record SERVER POINT ROUND: the run that just ended, into $rows and the JSON.
record() (
	held=$(load_get held)
	limit=$(load_get limit)
	{
		printf '%s\t%s\t%s\t%s\t%s' "$1" "$2" "$3" "$load_verdict" "${limit:--}"
		for key in messages_per_s server_cpu_us_per_message service_p50_us service_p99_us connects_per_s \
			server_cpu_us_per_connection; do
			printf '\t%s' "$(figure $key)"
		done
		for key in server_user_bytes_per_connection kernel_bytes_per_connection server_user_bytes_base; do
			printf '\t%s' "$(memory_figure $key)"
		done
		printf '\t%s\t%s\n' "${held:--}" "$(figure loss_percent)"
	} >>"$rows"
	record_json "$1" "$2" "$3" "$load_json"
)

# record_why SERVER POINT ROUND WHY: there was no run, and why.
record_why() {
	printf '%s\t%s\t%s\t%s\t-\t-\t-\t-\t-\t-\t-\t-\t-\t-\t-\t-\n' "$1" "$2" "$3" "$4" >>"$rows"
	load_verdict=$4
	record_json "$1" "$2" "$3" /dev/null
}

record_json() {
	[ ! -s "$scratch/points" ] || printf ',' >>"$scratch/points"
	{
		printf '\n    {"server": %s, "point": %s, "round": %s, "verdict": %s, "load": ' \
			"$(json_text "$1")" "$(json_text "$2")" "$3" "$(json_text "$load_verdict")"
		if [ -s "$4" ]; then sed 's/^/    /; 1s/^ *//' "$4"; else printf 'null'; fi
		printf '}'
	} >>"$scratch/points"
}

# ---- plots ----

# plot NAME DATA [GNUPLOT-DEFINITIONS]: bench/plots/NAME.gp -> $out/NAME.svg, and a copy for -p.
plot() {
	if ! command -v gnuplot >/dev/null 2>&1; then
		echo "No plot: needs gnuplot (Debian: apt-get install gnuplot-nox)" | show
		return 0
	fi
	if gnuplot -e "data='$2'; svg='$out/$1.svg'; ${3:-}" "$bench_folder/plots/$1.gp" 2>"$scratch/gnuplot.log"; then
		echo "Plot: $out/$1.svg" | show
		[ -z "$plot_copy" ] || cp "$out/$1.svg" "$plot_copy" || die "cannot write $plot_copy"
	else
		echo "No plot: gnuplot said: $(grep -v '^$' "$scratch/gnuplot.log" | tail -n 1)" | show
	fi
}
