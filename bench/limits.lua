-- limits.lua: what `make check-cost` counted when run with UPDATE=1, which writes this file; 5 % more fail.
return {
  tools = "x86_64, Lua 5.4.4, gcc 12, libcurl 7.88.1, glibc 2.36",
  ["an ask"] = { ["instructions"] = 347382.02, ["allocations"] = 125.37, ["system calls"] = 6 },
  ["an ask of a conversation"] = { ["instructions"] = 441985.77, ["allocations"] = 170.32, ["system calls"] = 6 },
  ["10,000 events"] = { ["instructions"] = 109729903, ["allocations"] = 10055 },
  ["base64 of 1 MiB"] = { ["instructions"] = 2336885.63 },
}
