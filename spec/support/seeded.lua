--- A generator of random numbers from 0 to 1, the same on every Lua: a whole number comes in, a function goes out.
return function(seed)
  return function()
    seed = (seed * 16807) % 2147483647
    return seed / 2147483647
  end
end
