import { BlockList, isIP, isIPv6 } from 'node:net'
import type { Asking } from './auth.js'

/** Where a request comes from. */
export type PeerOf = (asking: Asking) => string | undefined

/**
 * The other end of the socket; where that is a proxy that is trusted, the last address in `X-Forwarded-For` that is
 * not of one. What comes before it in the header may have been written by anybody. A header that is missing or says
 * anything else leaves the address unknown.
 *
 * @param proxies Addresses and networks.
 */
export function peerThrough(proxies: readonly string[]): PeerOf {
  if (proxies.length === 0) return ({ socketPeer }) => socketPeer
  const trusted = new BlockList()
  for (const proxy of proxies) {
    const [address = '', bits] = proxy.split('/')
    const family = isIPv6(address) ? 'ipv6' : 'ipv4'
    if (bits === undefined) trusted.addAddress(address, family)
    else trusted.addSubnet(address, Number(bits), family)
  }
  const isTrusted = (address: string) => trusted.check(address, isIPv6(address) ? 'ipv6' : 'ipv4')
  return ({ socketPeer, header }) => {
    if (socketPeer === undefined || !isTrusted(socketPeer)) return socketPeer
    const hops = (header('x-forwarded-for') ?? '').split(',').map(hop => hop.trim())
    for (const hop of hops.reverse()) {
      if (isIP(hop) === 0) return undefined
      if (!isTrusted(hop)) return hop
    }
    return undefined
  }
}
