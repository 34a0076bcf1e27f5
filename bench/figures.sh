# shellcheck shell=sh
# shellcheck disable=SC2016  # awk has its own $
# bench/figures.sh: medians and spreads, numbers and tables for people, JSON. Only text in and
# text out: nothing here starts anything. Sourced by bench/lib.sh.

# ---- arithmetic ----

# For every awk here: the median, least and greatest of numbers, and numbers for people.
awk_lib='
function sort(list, n,  i, j, x) {
	for (i = 2; i <= n; i++) {
		x = list[i]
		for (j = i - 1; j >= 1 && list[j] > x; j--)
			list[j + 1] = list[j]
		list[j + 1] = x
	}
}
# of a sorted list
function median(list, n) {
	return n % 2 ? list[(n + 1) / 2] : (list[n / 2] + list[n / 2 + 1]) / 2
}
function commas(x,  text, left) {
	text = sprintf("%.0f", x)
	for (left = ""; length(text) > 3; text = substr(text, 1, length(text) - 3))
		left = "," substr(text, length(text) - 2) left
	return text left
}
function number(x) { return x ~ /^-?[0-9.]+(e[-+]?[0-9]+)?$/ }
# "-" (there is no such figure) stays as it is.
function whole(x) { return number(x) ? commas(x) : x }
function micro(x) { return !number(x) ? x : x < 100 ? sprintf("%.2f", x) : commas(x) }
function ratio(x) { return number(x) ? sprintf("%.3f", x) : x }
# add() collects figures under a key; take() sets middle, least and most of them, and returns how
# many there are.
function add(key, x) { if (number(x)) figure_of[key, ++figures[key]] = x + 0 }
function take(key,  list, i) {
	middle = least = most = "-"
	for (i = 1; i <= figures[key]; i++) list[i] = figure_of[key, i]
	if (figures[key]) {
		sort(list, figures[key])
		middle = median(list, figures[key]); least = list[1]; most = list[figures[key]]
	}
	return figures[key] + 0
}
# "12,345 (12,300-12,400)"; of one figure, that alone.
function span(key, form,  n) {
	n = take(key)
	if (n < 2) return spelt(middle, form)
	return spelt(middle, form) " (" spelt(least, form) "-" spelt(most, form) ")"
}
function spelt(x, form) { return form == "whole" ? whole(x) : form == "ratio" ? ratio(x) : micro(x) }
# The first row of a table names its columns: columns() makes $at["server"] the cell of a row.
function columns(  i) { for (i = 1; i <= NF; i++) at[$i] = i }
# "64/50", "64/50x16" (16 under way on each) and "churn", in words for people.
function point_text(point,  part, depth) {
	if (split(point, part, "/") != 2)
		return point
	split(part[2], depth, "x")
	return sprintf("%s, %s connection%s%s", part[1] % 1024 ? part[1] " B" : part[1] / 1024 " KiB",
		commas(depth[1]), depth[1] == 1 ? "" : "s", depth[2] ? ", " depth[2] " under way on each" : "")
}
# The same, shorter: "64 B x 50".
function point_short(point,  text) {
	text = point_text(point)
	sub(/ connections?/, "", text)
	if (sub(/ under way on each/, "", text)) { sub(/, [0-9]*$/, " x&", text); sub(/x, /, "x ", text) }
	sub(/, /, " x ", text)
	return text
}
'

# grouped N: 1234567 as 1,234,567.
grouped() {
	echo "$1" | awk "$awk_lib"'{ print whole($1) }'
}

# Numbers on stdin, one a line -> "median min max n".
summary() {
	awk "$awk_lib"'
		number($1) { list[++n] = $1 + 0 }
		END {
			if (!n) { print "- - - 0"; exit }
			sort(list, n)
			printf "%.10g %.10g %.10g %d\n", median(list, n), list[1], list[n], n
		}'
}

# Rows of tab-separated cells on stdin -> aligned: numbers and "-" to the right, words to the
# left. A line without a tab is printed as it is.
table() {
	awk -F '\t' '
		{ line[NR] = $0; cells[NR] = NF }
		NF > 1 {
			for (i = 1; i <= NF; i++) {
				if (length($i) > width[i]) width[i] = length($i)
				if ($i ~ /^[0-9.]/) right[i] = 1
			}
		}
		END {
			for (r = 1; r <= NR; r++) {
				if (cells[r] < 2) { print line[r]; continue }
				n = split(line[r], cell, "\t")
				text = ""
				for (i = 1; i <= n; i++)
					text = text sprintf((i == 1 || !right[i] ? "%-" : "%") width[i] "s  ", cell[i])
				sub(/ +$/, "", text)
				print text
			}
		}'
}

# ---- JSON ----

# json_text TEXT: as a JSON string, with its quotes.
json_text() {
	printf '%s' "$1" | tr '\n\t' '  ' | sed 's/\\/\\\\/g; s/"/\\"/g; s/^/"/; s/$/"/'
	[ -n "$1" ] || printf '""'
}

# json_get FILE KEY: the value of a flat object with one key a line; nothing for null.
json_get() {
	sed -n 's/^[[:space:]]*"'"$2"'":[[:space:]]*//p' "$1" 2>/dev/null | head -n 1 |
		sed 's/[[:space:]]*,\{0,1\}[[:space:]]*$//; s/^"//; s/"$//; s/^null$//'
}

# A table (the first row names the columns) on stdin -> an array of objects.
json_rows() {
	awk -F '\t' '
		NR == 1 { n = split($0, name, "\t"); printf "["; next }
		{
			printf "%s\n    {", (NR > 2 ? "," : "")
			for (i = 1; i <= n; i++) {
				cell = $i
				if (cell == "-" || cell == "") cell = "null"
				else if (cell !~ /^-?(0|[1-9][0-9]*)(\.[0-9]+)?$/) {
					gsub(/\\/, "\\\\", cell); gsub(/"/, "\\\"", cell)
					cell = "\"" cell "\""
				}
				printf "%s\"%s\": %s", (i > 1 ? ", " : ""), name[i], cell
			}
			printf "}"
		}
		END { print (NR > 1 ? "\n  ]" : NR ? "]" : "[]") }'
}
