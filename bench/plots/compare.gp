# The CPU ratios to the reference with their spread. data: index 0 names the points (place,
# name), then a block for each server, its name as the header: place, ratio, least, greatest.
set terminal svg size 960,420 font "sans,12" background rgb "white"
set output svg
stats data using 1 nooutput
servers = STATS_blocks - 1
stats data index 0 using 1 nooutput
color(i) = word("#bab0ac #e15759 #4e79a7 #f28e2b #59a14f #76b7b2 #b07aa1 #edc948 #9c755f", (i - 1) % 9 + 1)
step = 0.8 / servers
place(x, i) = x + (i - (servers + 1) / 2.0) * step
set border 3
set tics nomirror
set grid ytics lc rgb "#dddddd"
set key outside right top
set title sprintf("server CPU time a message, ratio to %s: median, least and greatest of the rounds", reference)
set style fill solid 0.8 noborder
set boxwidth step
set yrange [0:*]
set xrange [-0.5:STATS_max + 0.5]
set arrow 1 from graph 0, first 1 to graph 1, first 1 nohead lc rgb "black" dt 2
plot data index 0 using 1:(0):xticlabels(2) with points pt -1 notitle, \
	for [i=1:servers] data index i using (place($1, i)):2 with boxes lc rgb color(i) title columnheader(1), \
	for [i=1:servers] data index i using (place($1, i)):2:3:4 with yerrorbars lc rgb "#333333" pt -1 notitle
