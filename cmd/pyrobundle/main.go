// Command pyrobundle mirrors wildfire sequences from the Pyronear platform into a bundle and replays them.
package main

func main() {}
