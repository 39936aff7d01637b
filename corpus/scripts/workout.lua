-- Exercises the interpreter without touching the clock, the environment or
-- pcall: closures, tables, metatables, coroutine-free iterators, strings,
-- patterns, formatting, sorting, integers and floats. Prints checksums that
-- depend on nothing but the semantics of Lua 5.4.

local function checksum(list)
  local h = 2166136261
  for _, v in ipairs(list) do
    local s = tostring(v)
    for i = 1, #s do
      h = ((h ~ s:byte(i)) * 16777619) & 0xffffffff
    end
  end
  return string.format("%08x", h)
end

-- A linear congruential generator in a closure: math.random is seeded
-- differently by each start.
local function generator(seed)
  return function(limit)
    seed = (seed * 1103515245 + 12345) & 0x7fffffff
    return (seed >> 8) % limit
  end
end

local function closures()
  local counters, seen = {}, {}
  for i = 1, 20 do
    local n = i
    counters[i] = { step = function(by) n = n + by; return n end, look = function() return n end }
  end
  local random = generator(1)
  for _ = 1, 60 do
    local c = counters[random(20) + 1]
    c.step(random(9) - 4)
  end
  for i, c in ipairs(counters) do seen[i] = c.look() end
  local function compose(f, g) return function(...) return f(g(...)) end end
  local f = function(x) return x end
  for i = 1, 15 do f = compose(f, function(x) return (x * 3 + i) % 1009 end) end
  for i = 1, 10 do seen[#seen + 1] = f(i) end
  return checksum(seen)
end

local function sorting()
  local random, list = generator(42), {}
  for i = 1, 40 do list[i] = { key = random(1000), name = string.format("item%04d", i) } end
  table.sort(list, function(a, b)
    if a.key ~= b.key then return a.key > b.key end
    return a.name < b.name
  end)
  local out = {}
  for i = 1, #list, 4 do out[#out + 1] = list[i].key .. ":" .. list[i].name end
  table.remove(list, 3)
  table.insert(list, 7, { key = -1, name = "new" })
  return checksum(out) .. " " .. #list .. " " .. list[7].name
end

local Vector = {}
Vector.__index = Vector
local function vector(x, y) return setmetatable({ x = x, y = y }, Vector) end
Vector.__add = function(a, b) return vector(a.x + b.x, a.y + b.y) end
Vector.__mul = function(a, k) return vector(a.x * k, a.y * k) end
Vector.__eq = function(a, b) return a.x == b.x and a.y == b.y end
Vector.__lt = function(a, b) return a:length() < b:length() end
Vector.__tostring = function(v) return string.format("(%.3f, %.3f)", v.x, v.y) end
Vector.__len = function() return 2 end
Vector.__call = function(v, name) return v[name] end
Vector.__concat = function(a, b) return tostring(a) .. tostring(b) end
function Vector:length() return (self.x * self.x + self.y * self.y) ^ 0.5 end

local function metatables()
  local v, out = vector(0, 1), {}
  for i = 1, 12 do
    v = v * 0.97 + vector(i / 7, -i / 11)
    if vector(30, 40) < v then v = v * 0.25 end
    out[i] = tostring(v)
  end
  out[#out + 1] = #v
  out[#out + 1] = tostring(v == vector(v("x"), v("y")))
  out[#out + 1] = v .. vector(1, 2)
  -- Inheritance and defaults.
  local base = setmetatable({}, { __index = function(t, k) rawset(t, k, #k); return #k end })
  local derived = setmetatable({}, { __index = base, __newindex = function(_, k, x) base[k] = x * 2 end })
  derived.seven = 7
  out[#out + 1] = derived.seven + derived.unknown + (rawget(base, "unknown") or 1000)
  return checksum(out)
end

local function strings()
  local out = {}
  local text = ("The quick brown fox jumps over the lazy dog; 42 times, or 3.5e2, or 0x1F. ")
  for word in text:gmatch("%a+") do out[#out + 1] = word:upper():reverse() end
  for number in text:gmatch("%d+%.?%d*") do out[#out + 1] = tonumber(number) end
  local swapped, count = text:gsub("(%a+) (%a+)", "%2 %1")
  out[#out + 1] = swapped
  out[#out + 1] = count
  out[#out + 1] = text:gsub("%w+", function(w) return #w > 4 and w:sub(1, 2) .. #w or nil end)
  out[#out + 1] = text:find("lazy", 1, true)
  out[#out + 1] = table.concat({ text:byte(1, 20) }, ",")
  out[#out + 1] = string.format("%5d|%-8s|%08.3f|%x|%q|%s|%g|%c|%i", 42, "ab", 3.14159, 255, "a\nb", nil, 1e20, 65, -7)
  out[#out + 1] = string.pack("<i4d", -2, 0.5):byte(12)
  local parts = {}
  for i = 1, 25 do parts[i] = ("%d:%s"):format(i, ("x"):rep(i % 7)) end
  out[#out + 1] = table.concat(parts, ";")
  out[#out + 1] = utf8.char(228, 8364, 128512) .. utf8.len("äöü€")
  return checksum(out)
end

local function numbers()
  local out = {}
  out[1] = math.maxinteger + 1 == math.mininteger
  out[2] = 7 // 2 .. " " .. -7 // 2 .. " " .. 7 % -3 .. " " .. -7 % 3 .. " " .. 7.5 // 2
  out[3] = 1 << 62 | 5 ~ 3
  out[4] = math.type(1) .. math.type(1.0) .. tostring(math.type("1"))
  out[5] = string.format("%.14g", math.sin(1) * math.exp(2) + math.log(10, 2) - math.sqrt(2))
  out[6] = tostring(1 / 0) .. tostring(-1 / 0) .. tostring(2 ^ 53) .. tostring(1e15) .. tostring(10 // 0.0)
  out[7] = math.tointeger(3.0) .. tostring(math.tointeger(3.5)) .. tostring(tonumber("0x10")) .. tostring(tonumber("1e1"))
  local x = 0.1
  for i = 1, 300 do x = 3.9 * x * (1 - x); if i % 60 == 0 then out[#out + 1] = string.format("%.17g", x) end end
  return checksum(out)
end

local function sieve(limit)
  local composite, count, last = {}, 0, 0
  for i = 2, limit do
    if not composite[i] then
      count, last = count + 1, i
      for j = i * i, limit, i do composite[j] = true end
    end
  end
  return count .. " " .. last
end

local function queens(n)
  local columns, up, down, solutions = {}, {}, {}, 0
  local function place(row)
    if row > n then
      solutions = solutions + 1
      return
    end
    for c = 1, n do
      if not (columns[c] or up[row + c] or down[row - c]) then
        columns[c], up[row + c], down[row - c] = true, true, true
        place(row + 1)
        columns[c], up[row + c], down[row - c] = nil, nil, nil
      end
    end
  end
  place(1)
  return solutions
end

local function fib(n) if n < 2 then return n end return fib(n - 1) + fib(n - 2) end

local function variadic(...)
  local n, sum = select("#", ...), 0
  for i = 1, n do sum = sum + (select(i, ...) or 100) end
  local packed = table.pack(...)
  return sum + packed.n, table.unpack(packed, 2, 4)
end

local function flow()
  local out = {}
  for i = 10, 1, -3 do
    local j = i
    repeat
      j = j - 1
      if j == 4 then goto continue end
      out[#out + 1] = i * j
    until j < 2
    while true do
      j = j + 2
      if j > 9 then break end
    end
    out[#out + 1] = j
    ::continue::
  end
  out[#out + 1] = table.concat({ variadic(1, nil, 3, 4, 5) == 118 and "ok" or "bad", select(-2, "a", "b", "c") })
  do
    local closed <close> = setmetatable({}, { __close = function() out[#out + 1] = "closed" end })
    local fixed <const> = 5
    out[#out + 1] = fixed
  end
  return checksum(out)
end

local function linked()
  -- Garbage on purpose: lists that die while others live on.
  local keep
  local total = 0
  for round = 1, 10 do
    local list
    for i = 1, 15 do list = { next = list, value = i * round } end
    if round % 5 == 0 then keep = { next = keep, value = list.value } end
    while list do total, list = total + list.value, list.next end
  end
  collectgarbage()
  while keep do total, keep = total + keep.value, keep.next end
  return total
end

print(_VERSION)
print("closures", closures())
print("sorting", sorting())
print("metatables", metatables())
print("strings", strings())
print("numbers", numbers())
print("sieve", sieve(400))
print("queens", queens(5))
print("fib", fib(13))
print("flow", flow())
print("linked", linked())
print("arguments", #arg, table.concat(arg, ","))
