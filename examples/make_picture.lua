-- Paints examples/picture.jpg: the full moon rises at dusk over ranges of mountains, mirrored in a lake between firs.
--   lua make_picture.lua | convert - -sampling-factor 4:2:0 -quality 88 picture.jpg

local width, height, shore = 1280, 854, 596
local floor, abs, sqrt, min, max, exp = math.floor, math.abs, math.sqrt, math.min, math.max, math.exp

-- The same picture on every Lua: a generator of our own, and noise from a table that it fills.
local state = 2024
local function random()
  state = (state * 16807) % 2147483647
  return state / 2147483647
end

local lattice = {}
for i = 0, 65535 do lattice[i] = random() end

local function noise(x, y)
  local xi, yi = floor(x), floor(y)
  local fx, fy = x - xi, y - yi
  fx, fy = fx * fx * (3 - 2 * fx), fy * fy * (3 - 2 * fy)
  local function at(i, j) return lattice[(i % 256) * 256 + j % 256] end
  local top = at(xi, yi) + (at(xi + 1, yi) - at(xi, yi)) * fx
  local bottom = at(xi, yi + 1) + (at(xi + 1, yi + 1) - at(xi, yi + 1)) * fx
  return top + (bottom - top) * fy
end

-- Octaves of noise, about 0 to 1; `sharp` folds them into ridges.
local function fractal(x, y, octaves, sharp)
  local sum, weight, total = 0, 1, 0
  for _ = 1, octaves do
    local value = noise(x, y)
    sum = sum + weight * (sharp and 1 - abs(2 * value - 1) or value)
    total, weight, x, y = total + weight, weight / 2, x * 2.03 + 17, y * 2.03 + 5
  end
  return sum / total
end

local function clamp(t) return max(0, min(1, t)) end

-- ---- the canvas: rows of red, green, blue from 0 to 1

local canvas = {}
for y = 0, height - 1 do canvas[y] = {} end

local function blend(x, y, colour, alpha)
  if x < 0 or x >= width or y < 0 or y >= height or alpha <= 0 then return end
  local row = canvas[y]
  for c = 1, 3 do
    local i = x * 3 + c
    row[i] = (row[i] or 0) * (1 - alpha) + colour[c] * alpha
  end
end

local function mix(a, b, t)
  return { a[1] + (b[1] - a[1]) * t, a[2] + (b[2] - a[2]) * t, a[3] + (b[3] - a[3]) * t }
end

-- ---- sky, stars and moon

local stops = {
  { 0.00, { 0.035, 0.055, 0.150 } }, { 0.30, { 0.110, 0.125, 0.300 } }, { 0.52, { 0.310, 0.220, 0.430 } },
  { 0.70, { 0.680, 0.370, 0.480 } }, { 0.84, { 0.960, 0.580, 0.450 } }, { 1.00, { 1.000, 0.800, 0.580 } },
}

local function sky(t)
  for i = 2, #stops do
    local low, high = stops[i - 1], stops[i]
    if t <= high[1] then return mix(low[2], high[2], (t - low[1]) / (high[1] - low[1])) end
  end
  return stops[#stops][2]
end

local function paint_sky()
  for y = 0, shore do
    local colour = sky(y / shore)
    for x = 0, width - 1 do
      blend(x, y, colour, 1)
      local cloud = fractal(x / 260, y / 42 + x / 900, 5)
      local lit = mix({ 0.45, 0.33, 0.55 }, { 1, 0.72, 0.60 }, clamp(y / shore * 1.3 - 0.2))
      blend(x, y, lit, 0.75 * clamp((cloud - 0.54) * 4.5) * clamp((y / shore - 0.18) * 2.2))
    end
  end
end

local function paint_star(x, y, brightness)
  local colour = mix({ 1, 0.86, 0.72 }, { 0.75, 0.85, 1 }, random())
  for j = -3, 3 do
    for i = -3, 3 do
      local spread = exp(-(i * i + j * j) / (0.30 + 0.9 * brightness))
      blend(x + i, y + j, colour, brightness * spread)
    end
  end
end

local function paint_stars()
  for _ = 1, 620 do
    local x, y = floor(random() * width), floor(random() ^ 1.6 * shore * 0.62)
    paint_star(x, y, (0.22 + 0.78 * random() ^ 5) * (1 - y / (shore * 0.64)))
  end
end

local function paint_moon(cx, cy, radius)
  for y = 0, shore do
    for x = 0, width - 1 do
      local distance = sqrt((x - cx) ^ 2 + (y - cy) ^ 2)
      blend(x, y, { 1, 0.90, 0.78 }, 0.55 * exp(-max(0, distance - radius) / 46) + 0.12 * exp(-distance / 260))
      local inside = clamp(radius - distance + 0.5)
      if inside > 0 then
        local seas = clamp((fractal(x / 30 + 3, y / 30 + 9, 4) - 0.46) * 3)
        blend(x, y, mix({ 1, 0.97, 0.90 }, { 0.78, 0.72, 0.70 }, seas), inside)
      end
    end
  end
end

-- ---- mountains, firs, water

local function paint_range(base, rise, scale, seed, colour, haze)
  for x = 0, width - 1 do
    local peak = base - rise * fractal(x / scale + seed, seed * 3.7, 7, true) ^ 1.6
    for y = max(0, floor(peak)), shore do
      local down = clamp((y - peak) / (shore - peak + 1))
      local slope = fractal((x + (y - peak) * 0.7) / (scale * 0.16) + seed, (y - peak) / 95, 4, true)
      local rock = mix(colour, { colour[1] * 0.72, colour[2] * 0.72, colour[3] * 0.80 }, clamp(slope * 1.8 - 0.7))
      blend(x, y, mix(rock, haze, down ^ 1.4 * 0.85), clamp(y - peak + 0.5))
    end
  end
end

-- Tiers of branches that hang towards their tips.
local function paint_fir(cx, base, tall, colour)
  local tier = tall / 11
  local grain = max(2, tall / 60)
  for y = floor(base - tall), min(height - 1, floor(base)) do
    local down = y - (base - tall)
    local reach = floor(3 + down * 0.26)
    for x = floor(cx) - reach, floor(cx) + reach do
      local aside = abs(x - cx)
      local hanging = max(0, down - aside * 0.75)
      local half = 0.6 + down * 0.20 * (0.50 + 0.50 * (hanging % tier) / tier)
      local ragged = half * (0.72 + 0.5 * fractal(x / grain, y / grain, 2))
      blend(x, y, colour, clamp(ragged - aside + 0.5))
    end
  end
end

local function paint_forest()
  for _ = 1, 420 do
    local x = random() * width
    local tall = (14 + 30 * random()) * (0.45 + 1.1 * noise(x / 120, 7))
    paint_fir(x, shore + 1, tall, mix({ 0.075, 0.070, 0.130 }, { 0.130, 0.105, 0.180 }, random()))
  end
end

local function paint_lake()
  for y = shore + 1, height - 1 do
    local depth = (y - shore) / (height - shore)
    for x = 0, width - 1 do
      local wave = fractal(x / (70 + 90 * depth), (y - shore) / (2.5 + 9 * depth), 3) - 0.5
      local from = clamp((shore - (y - shore) * 1.75 + wave * (5 + 40 * depth)) / shore) * shore
      local sx = max(0, min(width - 1, floor(x + wave * 14 * depth))) * 3
      local row = canvas[floor(from)]
      local seen = { row[sx + 1], row[sx + 2], row[sx + 3] }
      blend(x, y, mix(seen, { 0.06, 0.08, 0.19 }, 0.20 + 0.42 * depth), 1)
    end
  end
end

local function paint_foreground()
  local dark = { 0.022, 0.024, 0.055 }
  for x = 0, width - 1 do
    local edge = abs(x / width - 0.52) * 2
    local bank = height - 26 - 80 * edge ^ 2.2 - 14 * fractal(x / 60, 40, 4)
    for y = floor(bank), height - 1 do blend(x, y, dark, clamp(y - bank + 0.5)) end
    local blade = bank - 12 * random() ^ 2
    for y = floor(blade), floor(bank) do blend(x, y, dark, 0.8) end
  end
  local firs = { { 52, 520 }, { 128, 390 }, { 196, 280 }, { 1238, 600 }, { 1160, 430 }, { 1092, 300 }, { 1040, 190 } }
  for _, fir in ipairs(firs) do paint_fir(fir[1], height - 30, fir[2], dark) end
end

paint_sky()
paint_stars()
paint_moon(470, 235, 58)
paint_range(520, 330, 330, 11.3, { 0.52, 0.36, 0.50 }, { 0.93, 0.66, 0.60 })
paint_range(560, 260, 250, 4.1, { 0.36, 0.26, 0.42 }, { 0.78, 0.53, 0.56 })
paint_range(590, 190, 210, 23.7, { 0.22, 0.18, 0.33 }, { 0.56, 0.39, 0.50 })
paint_range(600, 105, 160, 35.2, { 0.13, 0.12, 0.24 }, { 0.30, 0.23, 0.36 })
paint_forest()
paint_lake()
paint_foreground()

io.write(string.format("P6\n%d %d\n255\n", width, height))
for y = 0, height - 1 do
  local row, out = canvas[y], {}
  for i = 1, width * 3 do out[i] = string.char(floor(clamp(row[i] + (random() - 0.5) / 128) * 255 + 0.5)) end
  io.write(table.concat(out))
end
