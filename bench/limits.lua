-- limits.lua: what `make check-cost` counted when run with UPDATE=1, which writes this file; 5 % more fail.
return {
  tools = "x86_64, Lua 5.4.4, gcc 12, libcurl 7.88.1, glibc 2.36",
  ["an ask"] = { ["instructions"] = 366450.99, ["allocations"] = 147.32, ["system calls"] = 6.03 },
  ["an ask of a conversation"] = { ["instructions"] = 449810.82, ["allocations"] = 183.33, ["system calls"] = 6 },
  ["10,000 events"] = { ["instructions"] = 109678592, ["allocations"] = 10053 },
  ["base64 of 1 MiB"] = { ["instructions"] = 2330653 },
}
