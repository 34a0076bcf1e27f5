# CPU us a message and a connection, over connections. data: a block for each line, its name as
# the header: connections, us, least, greatest.
set terminal svg size 760,420 font "sans,12" background rgb "white"
set output svg
stats data using 2 nooutput
lines = STATS_blocks
color(i) = word("#4e79a7 #e15759 #76b7b2 #f28e2b #59a14f #b07aa1", i % 6 + 1)
set border 3
set tics nomirror
set grid ytics lc rgb "#dddddd"
set logscale x
set format x "%.0f"
set yrange [0:*]
set xlabel "connections"
set title "CPU time of the server, us"
set key outside right top
plot for [i=0:lines-1] data index i using 1:2 with lines lw 2 lc rgb color(i) title columnheader(1), \
	for [i=0:lines-1] data index i using 1:2:3:4 with yerrorbars lc rgb color(i) pt 7 ps 0.4 notitle
