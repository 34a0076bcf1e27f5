# CPU us a message over connections, a line for each design; and what churn costs, a bar each.
# data: index 0 churn ("name" us), then a block for each design, its name as the header. The
# last one is drawn thicker.
set terminal svg size 960,440 font "sans,12" background rgb "white"
set output svg
stats data using 2 nooutput
lines = STATS_blocks - 1
color(i) = word("#4e79a7 #f28e2b #59a14f #76b7b2 #9c755f #edc948 #b07aa1 #ff9da7 #000000 #e15759", (i - 1) % 10 + 1)
set border 3
set tics nomirror
set multiplot

set origin 0,0
set size 0.62,1
set lmargin at screen 0.07
set rmargin at screen 0.46
set logscale xy
set grid ytics lc rgb "#dddddd"
set xrange [0.8:14000]
set format "%.0f"
set title "server CPU time, us a message of 64 bytes"
set xlabel "connections"
set key at screen 0.59,0.9 right top
plot for [i=1:lines] data index i using 1:2 with linespoints lw (i == lines ? 3 : 1.5) pt 7 ps 0.5 \
	lc rgb color(i) title columnheader(1)

set origin 0.62,0
set size 0.38,1
set lmargin at screen 0.71
set rmargin at screen 0.97
unset key
unset logscale y
set autoscale x
set grid noytics xtics
set title "us a connection, in churn"
set xlabel " "
set yrange [*:*] reverse
set style fill solid 0.8 noborder
plot data index 0 using 2:0:(1):2:($0 - 0.35):($0 + 0.35):yticlabels(1) with boxxyerror lc rgb "#4e79a7"
unset multiplot
