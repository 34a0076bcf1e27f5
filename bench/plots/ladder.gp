# CPU us a message over connections, a line for each design; what a message costs when 10,000
# connections are quiet, and what a connection costs in churn, a bar each.
# data: index 0 churn, index 1 quiet ("name" us), then a block for each design, its name as the
# header. The last one is drawn thicker.
set terminal svg size 1100,440 font "sans,12" background rgb "white"
set output svg
stats data using 2 nooutput
lines = STATS_blocks - 2
color(i) = word("#4e79a7 #f28e2b #59a14f #76b7b2 #9c755f #edc948 #b07aa1 #ff9da7 #000000 #e15759", (i - 1) % 10 + 1)
set border 3
set tics nomirror
set multiplot

set lmargin at screen 0.06
set rmargin at screen 0.38
set logscale xy
set grid ytics lc rgb "#dddddd"
set xrange [0.8:14000]
set yrange [3:*]
set format "%.0f"
set title "server CPU time, us a message of 64 bytes"
set xlabel "connections, all busy"
set key at screen 0.5,0.9 right top
plot for [i=1:lines] data index i+1 using 1:2 with linespoints lw (i == lines ? 3 : 1.5) pt 7 ps 0.5 \
	lc rgb color(i) title columnheader(1)

unset key
unset logscale y
set autoscale x
set grid noytics xtics
set yrange [*:*] reverse
set style fill solid 0.8 noborder

set lmargin at screen 0.59
set rmargin at screen 0.76
set title "us a message,\n10,000 connections, 2,000 messages/s"
set xlabel " "
plot data index 1 using 2:0:(1):2:($0 - 0.35):($0 + 0.35):yticlabels(1) with boxxyerror lc rgb "#4e79a7"

set lmargin at screen 0.82
set rmargin at screen 0.98
set title "us a connection,\nin churn"
plot data index 0 using 2:0:(1):2:($0 - 0.35):($0 + 0.35):yticlabels(1) with boxxyerror lc rgb "#4e79a7"
unset multiplot
