# shellcheck shell=sh
# shellcheck disable=SC2034  # much is set for the script that sources this
# bench/lib.sh: what the scripts of this folder share. A script
#
#	. "$(dirname "$0")/lib.sh"          and with it figures.sh (medians, tables, JSON), servers.sh
#	                                    (and its ready.sh), load.sh and namespace.sh
#	parse "$@"                          its own; what it does not know goes to common_option
#	bench_begin NAME LIMIT_S "$@"       checks, folder of results, CPUs, an end for everything
#	server_start weir -w 1 echo         a server by name; $server_pid, $server_listener
#	load -c 50 -d 1s                    weirload at it; $load_verdict, load_get KEY
#	record weir 64/50 1                 into $rows (a table) and the JSON
#	server_stop                         or server_keep weir, later server_use weir: several at once
#	bench_finish                        $out/results.json
#
# A function whose body is in ( ) keeps its variables to itself. The variables that other functions
# set are named above, or begin with the name of what they are about.
#
# The usage text of a script is the comment at its head. Everything that is started here ends with
# the script, however that ends. Exit status: 0 fine, 1 could not run, 2 wrong usage, 3 (if the script
# calls bench_expect_figures) a table without a figure.

LC_ALL=C
export LC_ALL
bench_folder=$(dirname "$0")
# shellcheck source=bench/figures.sh
. "$bench_folder/figures.sh"
# shellcheck source=bench/ready.sh
. "$bench_folder/ready.sh"
# shellcheck source=bench/servers.sh
. "$bench_folder/servers.sh"
# shellcheck source=bench/load.sh
. "$bench_folder/load.sh"
# shellcheck source=bench/namespace.sh
. "$bench_folder/namespace.sh"
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

# value OPTION VALUE...: ends the script if an option has no value.
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

# Takes one of the options that all scripts have; it used up $used words of the command line.
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

# Ticks that the hypervisor took from this machine since it started, and all ticks.
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

# The CPUs that this script may run on, one a line.
cpus_allowed() {
	sed -n 's/^Cpus_allowed_list:[[:space:]]*//p' /proc/self/status | tr ',' '\n' |
		awk -F - '{ for (i = $1; i <= ($2 == "" ? $1 : $2); i++) print i }'
}

# The server gets the first CPU, weirload another; one of another core if there is one.
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

# Whatever hangs is ended by a time limit. On a busy machine BENCH_PATIENCE=N makes all limits N
# times as long.
BENCH_PATIENCE=${BENCH_PATIENCE:-1}
ready_limit=$((20 * BENCH_PATIENCE))

# bench_begin NAME LIMIT_S ARGUMENT...: the script runs no longer than LIMIT_S seconds.
#
# Linux shares out CPUs to sessions, and the share of a session to its processes (sched(7),
# autogroup). Server and load have a session each, so that neither gets more by having more processes.
# With together=yes both are in the session of the script: a process interrupts another one whenever
# it wakes it from another session, and with a hundred processes on each side that would be most of
# what is measured. In either case each side is a process group, so that it can be ended whole, and
# neither is the terminal's: Ctrl-C reaches the script alone.
bench_begin() {
	bench_name=$1 bench_limit=$(($2 * BENCH_PATIENCE))
	shift 2
	need timeout coreutils
	need setsid util-linux
	# Whatever is started with $follows ends with the script, even if that is killed.
	follows='setpriv --pdeathsig TERM'
	$follows true 2>/dev/null || follows=''
	if [ -z "$BENCH_BOUND" ]; then
		BENCH_BOUND=$bench_limit exec timeout --foreground -k 20 "$bench_limit" \
			${together:+setsid $follows} sh "$0" "$@"
	fi
	unset BENCH_BOUND
	build_check
	scratch=$(mktemp -d) || die "cannot make a temporary folder"
	server_pid='' load_pid='' helper_pid='' kept='' loads=''
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
	# The hypervisor gave CPU time to another guest during the run.
	awk "BEGIN { exit !($steal >= 1) }" &&
		printf 'The hypervisor took %.1f %% of the CPU time meanwhile.\n' "$steal" | show
	return 0
)

# bench_expect_figures COLUMN: exits with 3 if a table has no run that was fine. The rows of $rows
# with the same value in that column are one table; COLUMN 0: all rows are one table.
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
	for pid in $load_pid $loads; do
		load_pid=$pid
		load_end
	done
	[ -z "$helper_pid" ] || kill "$helper_pid" 2>/dev/null
	[ -z "$server_pid" ] || server_stop
	for pid in $kept; do
		server_pid=$pid
		server_stop
	done
	rm -rf "$scratch"
	exit $status
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
