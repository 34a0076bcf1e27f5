# shellcheck shell=sh
# shellcheck disable=SC2034,SC2154  # lib.sh sets what all share, and takes what is set here
# bench/servers.sh: servers by name: starting, keeping and ending them, their processes and their
# CPU time. lib.sh sources it.

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

# Is it weir, of any build? weir is always told how many workers to have.
server_is_weir() (
	name=${1%%:*}
	case ${name##*/} in weir | weir-*) exit 0 ;; esac
	exit 1
)

# Does it serve datagrams?
server_is_udp() {
	case ${1%%:*} in *-udp) ;; *) return 1 ;; esac
}

# Which of the names are built.
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

# server_check NAME...: ends the script unless all are there. Called before bench_begin, so that no
# folder of results is left.
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

# server_start NAME [-w WORKERS] [PROTOCOL]...: with a listener for each; the first is
# $server_listener, and all of them are $server_listeners. If it does not become ready returns 1, and
# $server_why says why.
server_start() {
	server_name=$1 server_workers=''
	shift
	[ "$1" != -w ] || { server_workers=$2 && shift 2; }
	! server_is_weir "$server_name" || server_workers=${server_workers:-1}
	server_scheme=${1:-echo} server_kind=tcp server_port=$(ready_port_of "$server_name")
	! server_is_udp "$server_name" || { server_scheme=$server_scheme+udp && server_kind=udp; }
	asked=$server_scheme://$server_host:${server_port:-0}
	while [ $# -gt 1 ]; do
		asked="$asked $2://$server_host:${server_port:-0}"
		shift
	done
	server_log=$scratch/server.log server_listener='' server_why=''
	! ready_port_is_taken || return 1
	case $server_name in *:*) options=$(echo "${server_name#*:}" | tr ',' ' ') ;; *) options='' ;; esac
	: >"$server_log"
	# shellcheck disable=SC2086  # prefixes, options and listeners are lists of words
	$apart $pin_server "$(server_program "$server_name")" ${server_workers:+-w $server_workers} $options \
		$asked </dev/null >/dev/null 2>"$server_log" &
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

# workers_each NAME N: designs whose workers serve one connection each need N of them, but take
# 10,000 at most.
workers_each() {
	case $1 in accept-many | pass) echo "-w $(($2 < 10000 ? $2 : 10000))" ;; esac
}

# Ends the server and all its processes; they are gone when this returns.
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

# server_keep LABEL: the server that was started last stays up while others are started.
server_keep() {
	printf '%s\t%s\t%s\t%s\n' "$1" "$server_pid" "$server_name" "$server_listener" >>"$scratch/kept"
	kept="$kept $server_pid" server_pid=''
}

# server_use LABEL: the next load is for that server.
server_use() {
	server_line=$(awk -F '\t' -v label="$1" '$1 == label { print $2 " " $3 " " $4 }' "$scratch/kept")
	server_listener=${server_line##* } server_pid=${server_line%% *}
	server_name=${server_line#* } server_name=${server_name% *}
}

# The pids of a process and all its descendants.
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

# cpu_ns PID...: the CPU time of each process, with all its threads, in ns, one a line.
cpu_ns() (
	for pid; do
		cat "/proc/$pid/task/"*/schedstat 2>/dev/null | awk '{ ns += $1 } END { printf "%.0f\n", ns }'
	done
)
