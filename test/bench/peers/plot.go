package main

import (
	"bytes"
	"image/color"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

const radius = vg.Millimeter

// glyphs are the signs of the programs, in the order of the programs. The colors are from the palette of Okabe and Ito,
// which can be told apart with color blindness, and the shapes differ as well.
var glyphs = []draw.GlyphStyle{
	{Color: color.RGBA{R: 0x56, G: 0xb4, B: 0xe9, A: 0xff}, Shape: draw.RingGlyph{}, Radius: radius},
	{Color: color.RGBA{R: 0x00, G: 0x72, B: 0xb2, A: 0xff}, Shape: draw.CircleGlyph{}, Radius: radius},
	{Color: color.RGBA{R: 0x66, G: 0x66, B: 0x66, A: 0xff}, Shape: draw.PlusGlyph{}, Radius: radius},
	{Color: color.RGBA{R: 0xd5, G: 0x5e, B: 0x00, A: 0xff}, Shape: draw.BoxGlyph{}, Radius: radius},
	{Color: color.RGBA{R: 0x00, G: 0x9e, B: 0x73, A: 0xff}, Shape: draw.PyramidGlyph{}, Radius: radius},
	{Color: color.RGBA{R: 0xcc, G: 0x79, B: 0xa7, A: 0xff}, Shape: draw.SquareGlyph{}, Radius: radius},
}

// drawPlot returns an SVG with the CPU time and the peak memory of all programs on all corpora: a sign for the median
// and a line from the least to the most. The scales are logarithmic, since the corpora differ a thousandfold. The
// background is white in dark mode too, because the text is black.
func drawPlot(tables []table) ([]byte, error) {
	const (
		width, height = 28 * vg.Centimeter, 13 * vg.Centimeter
		margin        = vg.Centimeter / 2
		leftEnd       = 14 * vg.Centimeter // of the left panel, which is wider by the names of the corpora
		rightEnd      = 23 * vg.Centimeter
	)
	canvas := vgsvg.New(width, height)
	all := draw.New(canvas)
	all.SetColor(color.White)
	all.Fill(all.Rectangle.Path())

	legend := plot.NewLegend()
	legend.TextStyle.Font.Variant = "Sans"
	legend.Top, legend.Left, legend.Padding = true, true, vg.Millimeter
	legend.YOffs = -2 * margin
	cpu, err := panel(tables, "CPU time, seconds", usage.cpu, true)
	if err != nil {
		return nil, err
	}
	memory, err := panel(tables, "peak memory, MiB", usage.mib, false)
	if err != nil {
		return nil, err
	}
	for i, program := range programs() {
		legend.Add(program.name, &plotter.Scatter{GlyphStyle: glyphs[i]})
	}
	cpu.Draw(draw.Crop(all, margin, leftEnd-width, margin, -margin))
	memory.Draw(draw.Crop(all, leftEnd+margin, rightEnd-width, margin, -margin))
	legend.Draw(draw.Crop(all, rightEnd+margin, 0, 0, 0))

	var svg bytes.Buffer
	if _, err := canvas.WriteTo(&svg); err != nil {
		return nil, err
	}
	return svg.Bytes(), nil
}

// panel returns a plot of one figure, with a row for each corpus, the first at the top. The rows have names if named is
// true.
func panel(tables []table, title string, figure func(usage) float64, named bool) (*plot.Plot, error) {
	p := plot.New()
	p.Title.Text = title
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	for _, style := range []*draw.TextStyle{&p.Title.TextStyle, &p.X.Tick.Label, &p.Y.Tick.Label} {
		style.Font.Variant = "Sans"
	}
	p.Add(plotter.NewGrid())
	var ticks plot.ConstantTicks
	for i, t := range tables {
		tick := plot.Tick{Value: float64(-i), Label: " "} // a tick without a label has no line
		if named {
			tick.Label = t.title
		}
		ticks = append(ticks, tick)
	}
	p.Y.Tick.Marker, p.Y.Tick.Length = ticks, 0
	for i, program := range programs() {
		points := struct {
			plotter.XYs
			plotter.XErrors
		}{}
		for y, t := range tables {
			for _, r := range t.rows {
				if sorted := figures(r.runs, figure); r.program == program.name && len(sorted) > 0 {
					middle := median(r.runs, figure)
					// The programs of a corpus are below each other, so that they do not cover each other.
					at := -float64(y) + 0.3 - 0.6*float64(i)/float64(len(glyphs)-1)
					points.XYs = append(points.XYs, plotter.XY{X: middle, Y: at})
					spread := struct{ Low, High float64 }{sorted[0] - middle, sorted[len(sorted)-1] - middle}
					points.XErrors = append(points.XErrors, spread)
				}
			}
		}
		if len(points.XYs) == 0 {
			continue
		}
		scatter, err := plotter.NewScatter(points)
		if err != nil {
			return nil, err
		}
		scatter.GlyphStyle = glyphs[i]
		bars, err := plotter.NewXErrorBars(points)
		if err != nil {
			return nil, err
		}
		bars.Color = glyphs[i].Color
		p.Add(bars, scatter)
	}
	p.Y.Min, p.Y.Max = 0.5-float64(len(tables)), 0.5
	// Whole powers of ten at both ends.
	p.X.Min, p.X.Max = math.Pow10(int(math.Floor(math.Log10(p.X.Min)))), math.Pow10(int(math.Ceil(math.Log10(p.X.Max))))
	return p, nil
}
