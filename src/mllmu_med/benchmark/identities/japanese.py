"""Common Japanese names in kanji and in Latin letters: Faker has only fifty of each."""

from __future__ import annotations

LAST_NAMES = """
青木 Aoki 荒木 Araki 浅野 Asano 馬場 Baba 千葉 Chiba 大谷 Otani 遠藤 Endo 福田 Fukuda 福井 Fukui 古川 Furukawa
後藤 Goto 浜田 Hamada 原 Hara 原田 Harada 服部 Hattori 樋口 Higuchi 平野 Hirano 平田 Hirata 本田 Honda 星野 Hoshino
市川 Ichikawa 飯田 Iida 今井 Imai 石田 Ishida 石原 Ishihara 岩崎 Iwasaki 岩田 Iwata 川崎 Kawasaki 川村 Kawamura
菊地 Kikuchi 北村 Kitamura 小島 Kojima 小松 Komatsu 近藤 Kondo 河野 Kono 久保 Kubo 工藤 Kudo 栗原 Kurihara
丸山 Maruyama 増田 Masuda 松井 Matsui 松田 Matsuda 松尾 Matsuo 宮本 Miyamoto 宮崎 Miyazaki 水野 Mizuno 森 Mori
森田 Morita 武藤 Muto 永井 Nagai 中川 Nakagawa 中山 Nakayama 西田 Nishida 西川 Nishikawa 野口 Noguchi 野村 Nomura
小川 Ogawa 大野 Ono 大塚 Otsuka 小沢 Ozawa 酒井 Sakai 桜井 Sakurai 佐野 Sano 島田 Shimada 柴田 Shibata 菅原 Sugawara
須藤 Sudo 杉本 Sugimoto 杉山 Sugiyama 高田 Takada 高木 Takagi 竹内 Takeuchi 田村 Tamura 谷口 Taniguchi 土屋 Tsuchiya
上田 Ueda 上野 Ueno 内田 Uchida 和田 Wada 横山 Yokoyama 吉川 Yoshikawa 安田 Yasuda
"""

FIRST_NAMES = """
愛 Ai 葵 Aoi 彩 Aya 綾香 Ayaka 大地 Daichi 大輔 Daisuke 英二 Eiji 恵美 Emi 冬子 Fuyuko 文子 Fumiko 剛 Go 遥 Haruka
陽菜 Hina 博 Hiroshi 弘美 Hiromi 一郎 Ichiro 勇 Isamu 純 Jun 潤子 Junko 薫 Kaoru 香織 Kaori 和夫 Kazuo 健 Ken
健二 Kenji 浩二 Koji 恭子 Kyoko 舞子 Maiko 真央 Mao 雅美 Masami 正人 Masato 美香 Mika 美咲 Misaki 光 Hikaru
直子 Naoko 夏美 Natsumi 希 Nozomi 修 Osamu 礼子 Reiko 涼 Ryo 亮太 Ryota 幸子 Sachiko 悟 Satoru 聡 Satoshi 早紀 Saki
茂 Shigeru 真司 Shinji 慎吾 Shingo 翔太 Shota 進 Susumu 大樹 Taiki 隆 Takashi 武 Takeshi 拓海 Takumi 友香 Tomoka
智子 Tomoko 徹 Toru 剛志 Tsuyoshi 歌子 Utako 渡 Wataru 康子 Yasuko 洋子 Yoko 由紀 Yuki 雄大 Yudai 結衣 Yui 百合 Yuri
優太 Yuta
"""
