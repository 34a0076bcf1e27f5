# Bytes an idle connection, user and kernel. data: "name" user kernel.
set terminal svg size 720,420 font "sans,12" background rgb "white"
set output svg
set border 3
set tics nomirror
set grid xtics lc rgb "#dddddd"
set logscale x
set format x "%.0f"
set xlabel "bytes"
set title sprintf("memory of an idle connection, at %s", connections)
set yrange [*:*] reverse
set style fill solid 0.8 noborder
set key outside right top
plot data using 2:0:(10):2:($0 - 0.36):($0):yticlabels(1) with boxxyerror lc rgb "#4e79a7" title "user, the server's", \
	data using 3:0:(10):3:($0):($0 + 0.36) with boxxyerror lc rgb "#bab0ac" title "kernel, both ends"
