# shellcheck shell=sh
# shellcheck disable=SC2034,SC2154  # lib.sh sets what all share, and takes what is set here
# bench/load.sh: runs weirload at the server that was started last, and writes the results into a
# table and into the JSON. lib.sh sources it.

# load ARGUMENT...: one run of weirload at the server. Never fails, but sets $load_status, and
# $load_verdict, which is "fine" or what is shown in place of a figure.
load() {
	load_begin "$@"
	load_wait
}

# load_limit=SECONDS bounds the run; load_stdin=FILE is its stdin.
load_begin() {
	load_json=$scratch/load.json load_log=$scratch/load.log
	load_run "$@"
}

# load_keep LABEL ARGUMENT...: the same, but it goes on while others run; after load_use LABEL it is
# the one of load_wait, load_get and record. What the script has open as 3 it does not get.
load_keep() {
	load_json=$scratch/load-$1.json load_log=$scratch/load-$1.log load_label=$1
	shift
	load_run "$@"
	printf '%s\t%s\n' "$load_label" "$load_pid" >>"$scratch/loads"
	loads="$loads $load_pid" load_pid=''
}

load_use() {
	load_json=$scratch/load-$1.json load_log=$scratch/load-$1.log
	load_pid=$(awk -F '\t' -v label="$1" '$1 == label { pid = $2 } END { print pid }' "$scratch/loads")
	loads=$(for pid in $loads; do [ "$pid" = "$load_pid" ] || printf ' %s' "$pid"; done)
}

load_run() {
	load_ends=$((${load_limit:-60} * BENCH_PATIENCE))
	rm -f "$load_json"
	: >"$load_log"
	# shellcheck disable=SC2086
	$apart timeout -k 5 "$load_ends" $pin_load "$BUILD/weirload" --json "$load_json" \
		--server-pid "$server_pid" "$@" "$server_listener" <"${load_stdin:-/dev/null}" >"$load_log" 2>&1 3>&- &
	load_pid=$!
}

load_wait() {
	wait "$load_pid"
	load_status=$?
	load_pid=''
	case $load_status in
	0) load_verdict=fine ;;
	1) load_verdict=$(load_errors) ;;
	# Also the status if the process of --server-pid has gone by then; the last line handles that.
	2) ! alive "$server_pid" || die "weirload did not take its options: $(head -n 2 "$load_log")" ;;
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

# "ERRORS: 12 refused, 3 lost", from errors_KIND of the JSON; if there are none, weirload's last line
# on stderr.
load_errors() (
	kinds=$(sed -n 's/^[[:space:]]*"errors_\([a-z]*\)":[[:space:]]*\([1-9][0-9]*\),\{0,1\}$/\2 \1/p' \
		"$load_json" 2>/dev/null | paste -s -d , - | sed 's/,/, /g')
	echo "ERRORS: ${kinds:-$(tail -n 1 "$load_log" | cut -c 1-80)}"
)

# How many processes weirload needs for so many connections.
load_processes() (
	each=$(($(descriptors_max) - 100))
	echo $((($1 + each - 1) / each))
)

# load_point POINT SECONDS: POINT is SIZE/CONNECTIONS, SIZE/CONNECTIONSxDEPTH (DEPTH messages under
# way on each) or churn; $load_options go to weirload too.
load_point() {
	warmup=$(awk "BEGIN { w = $2 / 5; print (w < 0.1 ? 0.1 : w > 0.5 ? 0.5 : w) }")
	case $1 in
	churn) load --churn -c "$churn_connections" -s 64 -d "$(duration "$2")" --warmup "$(duration "$warmup")" ;;
	*)
		point_n=${1#*/} point_depth=1
		case $point_n in *x*) point_depth=${point_n#*x} point_n=${point_n%x*} ;; esac
		# shellcheck disable=SC2086  # words
		load $load_options -c "$point_n" -p "$point_depth" -s "${1%/*}" -P "$(load_processes "$point_n")" \
			-d "$(duration "$2")" --warmup "$(duration "$warmup")"
		;;
	esac
}

# turned ROUND NAMES: the names, in an order that turns from round to round.
turned() {
	echo "$2" | awk -v round="$1" '{ for (i = 0; i < NF; i++) printf "%s ", $((i + round - 1) % NF + 1) }'
}

# duration SECONDS: in the form that weirload takes, a whole number with a unit.
duration() {
	awk "BEGIN { printf \"%.0fms\", $1 * 1000 }"
}

# figure KEY: a value of the last run if that was fine; else "-".
figure() (
	found=''
	[ "$load_verdict" != fine ] || found=$(load_get "$1")
	printf '%s' "${found:--}"
)

# A figure of memory: known even if the run was not fine, for the connections that were held.
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

# record_why SERVER POINT ROUND WHY: records that there was no run, and why.
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
